"""How fast is a descriptor computed, beside PyTorch?

    python tools/benchmark.py inference --photos PHOTOS --json figures.json

DOLG-R50 of the official architecture, with the same random weights in every route: descriptors in
float32 must agree to 1e-4 before anything is timed. Each framework has a process of its own and
all take turns. What a route cannot do here is listed with the reason. The share of the GEMM peak is
that of a float32 matrix product in PyTorch in the same run.

With `--photos DIR` also a preset of the package from JPEG files to descriptors, beside the same
network in PyTorch over efficientnet-lite-pytorch, decoded, resized and batched by the same code.
"""

import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmarks.common import WITH_ORIGINAL, Worker, in_turn, machine, ratio, with_tools, write_json
from benchmarks.table import markdown

TORCH, OURS = ("-m", "benchmarks.pytorch"), ("-m", "benchmarks.dolg")
ORIGINAL = ("-m", "benchmarks.embedded_original")
EAGER, EMBEDDED = "PyTorch, eager", "efficientnet-lite-pytorch, eager"
TOLERANCE = 1e-4
TURN = 0.5  # seconds that a route runs at least when it is its turn
RUNTIMES = ("keras", "openvino", "onnx", "litert")
GEMM = 2048
SIZES, BATCHES = (160, 224, 320, 512, 768), (1, 2, 4, 8, 16)


def add_arguments(parser):
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--settings",
        nargs="+",
        default=["224x8", "512x1"],
        help="pixels a side x images in a batch",
    )
    parser.add_argument("--runtimes", nargs="+", default=RUNTIMES, choices=RUNTIMES)
    parser.add_argument("--multi-atrous", action="store_true", help="as in the paper")
    parser.add_argument("--growth", action="store_true", help="with size, batch and threads too")
    parser.add_argument("--photos", type=Path, help="a folder of JPEG files")
    parser.add_argument("--count", type=int, default=64, help="photographs in a turn")
    parser.add_argument("--json", type=Path, help="write the figures there as well")


def run(arguments):
    found = {**machine(), "rounds": arguments.rounds}
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["DOLG_ZOO_CACHE"] = f"{scratch}/cache"
        found["network"] = network(arguments, scratch, found["cores"])
        write_json(arguments.json, found)
        if arguments.growth:
            found["growth"] = growth(arguments, f"{scratch}/preset", found["cores"])
            write_json(arguments.json, found)
        if arguments.photos:
            found["end to end"] = end_to_end(arguments, found["cores"])
    write_json(arguments.json, found)
    print(markdown(found))


def settings_of(arguments):
    """(size, batch) of each."""
    return [tuple(map(int, setting.split("x"))) for setting in arguments.settings]


def network(arguments, scratch, cores):
    """Seconds of a batch by each route, and times as fast as PyTorch in eager mode."""
    state, preset = f"{scratch}/state.pt", f"{scratch}/preset"
    call(*TORCH, "make", state, "ATROUS" if arguments.multi_atrous else "PLAIN")
    prepared = prepare(preset, state, arguments)
    with ExitStack() as stack:
        commands = [(*TORCH, "serve", state, cores)]
        commands += [(*OURS, "serve", preset, runtime, cores) for runtime in arguments.runtimes]
        workers = [stack.enter_context(Worker(command)) for command in commands]
        missing = {name: why for worker in workers for name, why in worker.missing.items()}
        found = {
            "architecture": "DOLG-R50" + (" with MultiAtrous" if arguments.multi_atrous else ""),
            "versions": [worker.versions for worker in workers],
            "missing": {**missing, **prepared["missing"]},
            "distance from eager": agreement(workers, EAGER, batch=2, size=224),
            "settings": {},
        }
        for size, batch in settings_of(arguments):
            work = {"batch": batch, "size": size}
            times = turns(workers, arguments.rounds, {"GEMM": {"size": GEMM}}, **work)
            products = 2 * GEMM**3 / times["GEMM"]["median"]
            adds = batch * prepared["multiply-adds"][str(size)]
            names = [name for worker in workers for name in worker.routes if name != "GEMM"]
            found["settings"][f"{size}×{size}, batch {batch}"] = {
                "seconds": times,
                "times as fast": {name: ratio(times, EAGER, name) for name in names},
                "GEMM, GFLOP/s": round(products / 1e9, 1),
                "share of GEMM peak": {
                    name: round(2 * adds / times[name]["median"] / products, 3) for name in names
                },
            }
    return found


def end_to_end(arguments, cores):
    """A preset of the package from files to descriptors, beside its original."""
    from dolg_zoo.preprocessing import list_images

    compiled = set(arguments.runtimes) - {"keras"}
    missing = prepare(WITH_ORIGINAL, "none", arguments)["missing"] if compiled else {}
    every = list_images(arguments.photos)
    files = [str(file) for file in every[:: -(-len(every) // arguments.count)]]
    square = {"mode": "squash", "multiple_of": 32, "interpolation": "bicubic"}
    kinds = {
        f"{size}×{size}, batch {batch}": {"batch": batch, "converter": {**square, "size": size}}
        for size, batch in settings_of(arguments)
    }
    own = {**square, "mode": "short_side", "size": 256}
    kinds["short side 256, batch 16"] = {"batch": 16, "converter": own}
    found = {"photographs": len(files), "missing": missing, "settings": {}}
    with ExitStack() as stack:
        commands = [(*ORIGINAL, cores)]
        commands += [
            (*OURS, "serve-files", WITH_ORIGINAL, runtime, cores) for runtime in arguments.runtimes
        ]
        workers = [stack.enter_context(Worker(command)) for command in commands]
        for name, work in kinds.items():
            distances = agreement(workers, EMBEDDED, files=files[:8], **work)
            times = turns(workers, arguments.rounds, {}, files=files, **work)
            found["settings"][name] = {
                "seconds": times,
                "distance from the original": distances,
                "times as fast": {
                    route: ratio(times, EMBEDDED, route)
                    for worker in workers
                    for route in worker.routes
                },
            }
    return found


def growth(arguments, preset, cores):
    """Images a second in float32 as image, batch and number of threads grow."""
    found = {}
    for runtime in [each for each in ("openvino", "keras") if each in arguments.runtimes]:
        for threads in sorted({1, 2, cores}):
            points = [(224, 8)]
            if threads == cores:
                points += [(size, 1) for size in SIZES] + [(224, batch) for batch in BATCHES]
            with Worker([*OURS, "serve", preset, runtime, threads]) as worker:
                for size, batch in dict.fromkeys(points):
                    work = {"batch": batch, "size": size}
                    times = turns([worker], arguments.rounds, {}, **work)
                    route = next(name for name in reversed(worker.routes) if is_exact(name))
                    name = f"{route}, {threads} threads, {size}×{size}, batch {batch}"
                    found[name] = {
                        "images a second": round(batch / times[route]["median"], 2),
                        "seconds": times[route],
                        "noisy rounds": times["noisy rounds"],
                    }
    return found


def prepare(preset, state, arguments):
    photos = arguments.photos or "none"
    sizes = ",".join(str(size) for size, _ in settings_of(arguments))
    printed = call(*OURS, "prepare", preset, state, photos, sizes, *arguments.runtimes)
    return json.loads(printed.splitlines()[-1])


def call(*command):
    """What a script of ours prints."""
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        env=with_tools(),
    )
    if done.returncode:
        raise SystemExit(f"{command[1]} ended with status {done.returncode}.")
    return done.stdout


def turns(workers, rounds, others, **work):
    """`in_turn` of all routes of workers; `others` names the routes that have other work."""

    def side(worker, name):
        return lambda: worker.run(name, seconds=TURN, **others.get(name, work))

    return in_turn(
        {
            name: side(worker, name)
            for worker in workers
            for name in worker.routes
            if name in others or name != "GEMM"
        },
        rounds,
        [worker.process for worker in workers],
    )


def agreement(workers, reference, **work):
    """The largest distance of a descriptor of each route from that of the reference.

    Raises:
        SystemExit: if one in float32 is above `TOLERANCE`.
    """
    found = {
        name: np.array(worker.run(name, describe=True, **work))
        for worker in workers
        for name in worker.routes
        if name != "GEMM"
    }
    distances = {
        name: float(np.linalg.norm(each - found[reference], axis=1).max())
        for name, each in found.items()
    }
    for name, distance in distances.items():
        if is_exact(name) and not distance <= TOLERANCE:  # nor if it is not a number
            raise SystemExit(
                f"The descriptors of {name} are {distance:.1e} from those of {reference}, more"
                f" than {TOLERANCE:.0e}: nothing was timed."
            )
    return {name: float(f"{distance:.2g}") for name, distance in distances.items()}


def is_exact(route):
    """Whether a route computes in float32."""
    return "bfloat16" not in route and "int8" not in route

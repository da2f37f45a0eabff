"""How long until the first descriptor, and how much memory does a large image take?

    python tools/benchmark.py load --rounds 5 --json load.json

The first is of the embedded preset, from the start of a process, by each runtime, its files
compiled before; with the imports and `DOLG.from_preset` by themselves. The second is the peak of
the resident memory of DOLG-R101 with random weights and one image of 1024×1024, each runtime in a
process of its own, beside a process that has imported OpenVINO alone and runs the same file.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.common import in_turn, machine, with_tools, write_json

FIRST = "benchmarks.first"
IMPORTS = (
    "dolg_zoo",
    "openvino",
    "onnxruntime",
    "ai_edge_litert.interpreter",
    "keras",
    "tensorflow",
)
RUNTIMES = ("keras", "openvino", "onnx", "litert")


def add_arguments(parser):
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runtimes", nargs="+", default=RUNTIMES, choices=RUNTIMES)
    parser.add_argument(
        "--imports", nargs="+", default=IMPORTS, help="modules to time the import of"
    )
    parser.add_argument("--size", type=int, default=1024, help="pixels a side, for the memory")
    parser.add_argument("--backbone", default="resnet101", help="for the memory")
    parser.add_argument("--json", type=Path, help="write the figures there as well")


def run(arguments):
    found = machine()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["DOLG_ZOO_CACHE"] = f"{scratch}/cache"
        ask("prepare", "embedded", *arguments.runtimes)
        found["start"] = start(arguments)
        write_json(arguments.json, found)
        found["memory, MiB"] = memory(arguments, f"{scratch}/preset")
    print(json.dumps(found, indent=1))
    write_json(arguments.json, found)


def start(arguments):
    """Seconds of whole processes, and of what goes on in them."""
    parts = {runtime: [] for runtime in arguments.runtimes}

    def first(runtime):
        begin = time.perf_counter()
        answer = ask("first", runtime)
        # until the answer, not until the process has ended
        parts[runtime].append(answer["parts"])
        return answer["done"] - begin

    sides = {
        f"import {module}": lambda module=module: ask("import", module)["seconds"]
        for module in arguments.imports
    }
    sides |= {
        f"first descriptor, {runtime}": lambda runtime=runtime: first(runtime)
        for runtime in arguments.runtimes
    }
    times = in_turn(sides, arguments.rounds)
    means = {
        runtime: {name: round(min(each[name] for each in found), 3) for name in found[0]}
        for runtime, found in parts.items()
    }
    return {"seconds": times, "least seconds of each part": means}


def memory(arguments, preset):
    """MiB at the peak, by runtime and by OpenVINO alone."""
    made = ask("prepare", preset, *arguments.runtimes, f"--backbone={arguments.backbone}")
    size = str(arguments.size)
    found = {runtime: ask("memory", preset, runtime, size)["MiB"] for runtime in arguments.runtimes}
    if "openvino" in found:
        found["OpenVINO alone"] = alone = ask("openvino", made["openvino"], size)["MiB"]
        found["openvino / OpenVINO alone"] = round(found["openvino"] / alone, 3)
    return found


def ask(*command):
    """What the other script answers."""
    done = subprocess.run(
        [sys.executable, "-m", FIRST, *map(str, command)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        env=with_tools(),
    )
    if done.returncode:
        raise SystemExit(f"{FIRST} {' '.join(command)} ended with {done.returncode}.")
    return json.loads(done.stdout.splitlines()[-1])

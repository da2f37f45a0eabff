"""Times the loading of dolg_resnet101_gldv2, and its peak memory, beside PyTorch on the same file.

Needs `pip install ".[convert]"`. Each measurement is a process of its own, and begins after the
imports; rounds of all of them alternate, and the medians are printed. Memory is what is resident at
the peak beyond what was after the imports, pages of mapped files included. The file has the tensors
of the official checkpoint, filled at random, unless one is given; nothing is downloaded, but the
file is hashed as it is after a download. "unhashed" is a second loading that trusts its files: what
the second takes beyond it is the price of hashing.

    python tools/measure_loading.py --rounds 5
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

PRESET = "dolg_resnet101_gldv2"
BLOCKS, DIM, CLASSES = (3, 4, 23, 3), 512, 81313


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, help=f"the checkpoint of {PRESET}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", choices=MEASUREMENTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(MEASUREMENTS[arguments.measure](arguments.checkpoint)))
        return
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = arguments.checkpoint or stand_in(Path(folder, "stand_in.pt"))
        print_results(checkpoint, measure_all(checkpoint, arguments.rounds, folder))


def measure_all(checkpoint, rounds, folder):
    results = {name: [] for name in MEASUREMENTS}
    for turn in range(rounds):
        environment = {**os.environ, "DOLG_ZOO_CACHE": f"{folder}/{turn}"}
        for name in MEASUREMENTS:  # the second loading finds what the first has left
            command = [sys.executable, __file__, "--measure", name, "--checkpoint", checkpoint]
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr)
            results[name].append(json.loads(done.stdout.splitlines()[-1]))
            print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return results


def print_results(checkpoint, results):
    size = checkpoint.stat().st_size / 2**20
    print(f"{checkpoint.name}: {size:.0f} MiB; medians of {len(results['first'])} rounds")

    def median(name, what):
        return statistics.median(result[what] for result in results[name])

    baseline = median("torch", "seconds")
    for name in results:
        seconds, memory = median(name, "seconds"), median(name, "peak")
        print(
            f"{name:10} {seconds:6.2f} s ({seconds / baseline:.2f} of torch's),"
            f" peak {memory:5.0f} MiB ({memory / size:.2f} of the file)"
            f" beyond the {median(name, 'imports'):.0f} MiB of the imports;"
            f" of it, {median(name, 'filling'):.2f} s to read and fill a network that is built"
        )
    hashing = 1 - median("unhashed", "seconds") / median("second", "seconds")
    print(f"hashing: {hashing:.1%} of the second loading")


def stand_in(path):
    """Writes a checkpoint as large as the official one, in a process of its own."""
    script = (
        "import sys, torch; from references.official_pytorch import DOLG;"
        f"model = DOLG({BLOCKS}, False, {DIM}, {CLASSES});"
        "[torch.nn.init.normal_(p, std=0.02) for p in model.desc_cls.parameters()];"
        "model.desc_cls.t.zero_(); model.pool_g.p.data.fill_(3);"
        "torch.save(model.state_dict(), sys.argv[1])"
    )
    folder = Path(__file__).parent
    subprocess.run([sys.executable, "-c", script, path], cwd=folder, check=True)
    return path


class Meter:
    """Seconds and memory from its making on."""

    def __init__(self):
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        self.imports, self.begin = memory("VmRSS"), time.perf_counter()

    def result(self, filling):
        """What was spent, given the seconds that went into a network already built."""
        seconds = time.perf_counter() - self.begin
        peak = memory("VmHWM") - self.imports
        return {"seconds": seconds, "filling": filling, "peak": peak, "imports": self.imports}


def memory(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


def with_torch(checkpoint):
    import torch
    from references.official_pytorch import DOLG

    meter = Meter()
    model = DOLG(BLOCKS, False, DIM, CLASSES)
    built = time.perf_counter()
    model.load_state_dict(torch.load(checkpoint, weights_only=True))
    return meter.result(time.perf_counter() - built)


def with_dolg_zoo(checkpoint, hashed=True):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from dolg_zoo import DOLG
    from dolg_zoo._util import hashing
    from dolg_zoo.models import DOLGNet
    from dolg_zoo.presets import conversion, registry
    from dolg_zoo.presets import files as preset_files
    from dolg_zoo.presets import folder as presets_folder
    from dolg_zoo.weights import load_manifest

    file = replace(
        load_manifest().checkpoints[PRESET].file,
        size=checkpoint.stat().st_size,
        sha256=hashing.sha256_of(checkpoint),
    )
    entry = replace(load_manifest().checkpoints[PRESET], file=file)
    manifest = replace(load_manifest(), checkpoints={PRESET: entry})
    registry.load_manifest = lambda: manifest

    def fetch(wanted, preset):  # without the network, but not without the hash
        assert hashing.fault_in(checkpoint, wanted.sha256, wanted.size) is None
        return checkpoint

    registry.fetch = fetch
    if not hashed:
        preset_files.fault_in = lambda *promised: None
    building = []

    def timed_net(*arguments, **options):
        begin = time.perf_counter()
        net = DOLGNet(*arguments, **options)
        building.append(time.perf_counter() - begin)
        return net

    conversion.DOLGNet = presets_folder.DOLGNet = timed_net
    meter = Meter()
    DOLG.from_preset(PRESET)
    return meter.result(time.perf_counter() - meter.begin - sum(building))


MEASUREMENTS = {
    "torch": with_torch,
    "first": with_dolg_zoo,
    "second": with_dolg_zoo,
    "unhashed": partial(with_dolg_zoo, hashed=False),
}

if __name__ == "__main__":
    main()

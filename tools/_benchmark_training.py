"""How long is a training step beside the same step in PyTorch?

DOLG-R50 with ArcFace, trained by SGD with momentum.
Each side has a process of its own and waits while the other is timed, turn by turn. What is timed
is the loop of `dolg train`, on one batch that lies in memory, without augmentation. The ratio is
that of the medians; below 1 dolg-zoo is faster.

    python tools/measure_training.py --rounds 9
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil

REFERENCE = Path(__file__).with_name("_training_pytorch_reference.py")
WARM_UP = 3


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224, help="pixels a side")
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--dim", type=int, default=512, help="of the descriptor")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=3, help="in a round, of each side")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    shape = (arguments.batch, arguments.size, arguments.classes, arguments.dim)
    if arguments.serve:
        serve(*shape)
        return
    options = [
        f"--{name}={value}"
        for name, value in zip(("batch", "size", "classes", "dim"), shape, strict=True)
    ]
    sides = {
        "dolg-zoo": [sys.executable, __file__, "--serve", *options],
        "PyTorch": [sys.executable, REFERENCE, *map(str, shape)],
    }
    print(json.dumps(measure(sides, arguments.rounds, arguments.steps), indent=1))


def measure(commands, rounds, steps):
    """Seconds a step of each side, and how busy other processes kept the cores meanwhile."""
    workers = {name: Worker(command) for name, command in commands.items()}
    seconds = {name: [] for name in workers}
    others = []
    try:
        for _ in range(rounds):
            for name, worker in workers.items():
                taken, busy = worker.run(steps)
                seconds[name].append(taken)
                others.append(busy)
    finally:
        for worker in workers.values():
            worker.stop()
    ours, theirs = (statistics.median(taken) for taken in seconds.values())
    return {
        "ratio": round(ours / theirs, 3),
        "seconds": {
            name: {
                "median": round(statistics.median(taken), 3),
                "min": round(min(taken), 3),
                "max": round(max(taken), 3),
            }
            for name, taken in seconds.items()
        },
        "versions": {name: worker.versions for name, worker in workers.items()},
        "cores": psutil.cpu_count(),
        "other processes, cores": round(max(others), 2),
    }


class Worker:
    """A process that takes steps when told to."""

    def __init__(self, command):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.versions = self._answer().removeprefix("ready ")

    def run(self, steps):
        """Seconds a step, and the cores that other processes used in the time."""
        before, begin = self._cpu(), time.perf_counter()
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        seconds = float(self._answer())
        total, own = (after - at for after, at in zip(self._cpu(), before, strict=True))
        return seconds, max(0.0, total - own) / (time.perf_counter() - begin)

    def stop(self):
        """Ends the process."""
        self.process.stdin.close()
        self.process.wait()

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args[1]} ended with status {self.process.wait()}.")
        return line.strip()

    def _cpu(self):
        """Seconds of all cores, and those of this process alone."""
        whole = psutil.cpu_times()
        own = psutil.Process(self.process.pid).cpu_times()
        return whole.user + whole.system, own.user + own.system


def serve(batch, size, classes, dim):
    """Our side of the comparison."""
    import keras
    import numpy as np
    import tensorflow as tf

    import dolg_zoo
    from dolg_zoo.training.loop import Loop

    keras.utils.set_random_seed(0)
    model = dolg_zoo.dolg_resnet50(backbone_weights=None, descriptor_dim=dim)
    classifier = model.with_margin_head(classes, "arcface")
    classifier.compile(
        keras.optimizers.SGD(1e-3, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    classifier.optimizer.build(classifier.trainable_variables)
    as_they_are = keras.Sequential([keras.Input((size, size, 3)), keras.layers.Identity()])
    loop = Loop(classifier, as_they_are, tf.distribute.get_strategy())
    loop.set_backbone_trainable(True, batch_norm=True)
    rng = np.random.default_rng(0)
    images = tf.constant(rng.integers(0, 256, (batch, size, size, 3), "uint8"))
    batches = itertools.repeat((images, tf.constant(rng.integers(0, classes, batch))))

    def take(steps):
        begin = time.perf_counter()
        for _ in loop.run(batches, 0, steps):  # looks at the loss last, and so waits for it
            pass
        return (time.perf_counter() - begin) / steps

    take(WARM_UP)
    print("ready", keras.__version__, tf.__version__, flush=True)
    for line in sys.stdin:
        print(take(int(line)), flush=True)


if __name__ == "__main__":
    main()

"""How long is a training step beside the same step in PyTorch?

DOLG-R50 with ArcFace, trained by SGD with momentum. Each side has a process of its own and waits
while the other is timed, turn by turn. What is timed is the loop of `dolg train`, on one batch that
lies in memory, without augmentation. The ratio is that of the medians; below 1 dolg-zoo is faster.

    python tools/benchmark.py training --rounds 9
"""

import itertools
import json
import sys
from pathlib import Path

from benchmarks.common import Worker, in_turn, machine, serve, write_json

OURS, REFERENCE = ("-m", "benchmarks.training"), ("-m", "benchmarks.training_pytorch")
WARM_UP = 3


def add_arguments(parser):
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224, help="pixels a side")
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--dim", type=int, default=512, help="of the descriptor")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=3, help="in a round, of each side")
    parser.add_argument("--json", type=Path, help="write the figures there as well")


def run(arguments):
    shape = arguments.batch, arguments.size, arguments.classes, arguments.dim
    with Worker([*OURS, *shape]) as ours, Worker([*REFERENCE, *shape]) as theirs:
        workers = {"dolg-zoo": ours, "PyTorch": theirs}

        def side(worker):
            return lambda: worker.run("steps", steps=arguments.steps) / arguments.steps

        times = in_turn(
            {name: side(worker) for name, worker in workers.items()},
            arguments.rounds,
            [worker.process for worker in workers.values()],
        )
    found = {
        "ratio": round(times["dolg-zoo"]["median"] / times["PyTorch"]["median"], 3),
        "seconds": times,
        "versions": {name: worker.versions for name, worker in workers.items()},
        **machine(),
    }
    print(json.dumps(found, indent=1))
    write_json(arguments.json, found)


def main(batch, size, classes, dim):
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
        for _ in loop.run(batches, 0, steps):  # looks at the loss last, and so waits for it
            pass

    take(WARM_UP)
    serve({"steps": take}, f"Keras {keras.__version__}, TensorFlow {tf.__version__}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

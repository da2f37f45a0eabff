"""The images of each batch."""

from __future__ import annotations

import numpy as np


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Return the number of whole batches in an epoch, at least one."""
    return max(1, images // batch_size)


def batch_indices(
    labels: np.ndarray,
    batch_size: int,
    seed: int,
    epoch: int,
    balanced: bool = False,
    images_per_class: int = 1,
) -> np.ndarray:
    """Return the images of each batch of an epoch, in random order.

    The order depends only on the arguments, so a run needs no saved state to continue it.

    Args:
        labels: (images,), the class of each image, whole numbers from 0.
        batch_size: number of images in a batch.
        seed: the seed of the run.
        epoch: the number of the epoch, from 0.
        balanced: False: no image is used twice, and a last batch that is not full is left out;
            if all images are fewer than a batch, they are repeated to fill it. True: there are as
            many batches; the classes' counts differ by at most one group of `images_per_class`, and
            no image is used again before all others of its class.
        images_per_class: number of consecutive images of a class, if balanced; a divisor of the
            batch size. A class with fewer images repeats them.

    Returns:
        (steps, batch_size), indices of images.
    """
    rng = np.random.default_rng([seed, epoch])
    steps = steps_per_epoch(len(labels), batch_size)
    order = rng.permutation(len(labels))
    if balanced:
        order = _balance(order, labels, steps * batch_size, images_per_class, rng)
    return np.resize(order, (steps, batch_size))


def _balance(
    order: np.ndarray,
    labels: np.ndarray,
    draws: int,
    images_per_class: int,
    rng: np.random.Generator,
) -> np.ndarray:
    counts = np.bincount(labels)
    starts = np.cumsum(counts) - counts
    by_class = order[np.argsort(labels[order], kind="stable")]
    present = np.flatnonzero(counts)
    groups = -(-draws // images_per_class)
    rounds = -(-groups // len(present))
    # each round has one group of every class, so a round's number is that of the class's group
    classes = rng.permuted(np.tile(present, (rounds, 1)), axis=1).ravel()[:groups]
    first = np.repeat(np.arange(rounds), len(present))[:groups] * images_per_class
    classes = np.repeat(classes, images_per_class)
    number_in_class = (first[:, None] + np.arange(images_per_class)).ravel() % counts[classes]
    return by_class[starts[classes] + number_in_class][:draws]

"""Which images make up a batch."""

from __future__ import annotations

import numpy as np


def steps_per_epoch(images: int, batch_size: int) -> int:
    """How many batches an epoch has: a remainder is left out, but there is one at least."""
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

    It depends on the arguments alone, so a run that goes on needs nothing kept.

    Args:
        labels: (images,), the class of each, whole numbers from 0.
        batch_size: images a batch.
        seed: the seed of the run.
        epoch: the number of the epoch, from 0.
        balanced: False: no image comes twice, and a remainder smaller than a batch is left out;
            fewer images than a batch are repeated to fill one. True: all classes come equally
            often, but for one, in as many batches; of a class, no image comes again before all
            have.
        images_per_class: how many images of a class come one after the other, if balanced; a
            divisor of the batch size. A class of fewer repeats them.

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
    # in each round every class comes once, so the round also counts the groups of a class
    classes = rng.permuted(np.tile(present, (rounds, 1)), axis=1).ravel()[:groups]
    first = np.repeat(np.arange(rounds), len(present))[:groups] * images_per_class
    classes = np.repeat(classes, images_per_class)
    number_in_class = (first[:, None] + np.arange(images_per_class)).ravel() % counts[classes]
    return by_class[starts[classes] + number_in_class][:draws]

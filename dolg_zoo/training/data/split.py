"""Split labelled images into training and validation."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np

from dolg_zoo._util.text import plain_label
from dolg_zoo.errors import DataError
from dolg_zoo.training.data.examples import Examples

USUAL_SHARE = 0.2
FEWEST_TO_SPLIT = 4
"""With fewer classes, training or validation would get fewer than two."""
ENOUGH_CLASSES = 6
"""Minimum number of classes for a meaningful confidence interval of the mAP."""


def split(
    examples: Examples,
    by: str | None = "class",
    share: float | None = None,
    seed: int = 0,
    classes: Sequence[str] = (),
) -> tuple[Examples, Examples]:
    """Divide labelled images into images for training and images for validation.

    Args:
        examples: all images.
        by: "class" holds out whole classes, so validation uses classes not seen in training. It
            holds out at least two classes, each with at least two images. Labels are renumbered in
            both parts.
            "image" holds out images of each class with at least three images: at least one is held
            out and at least two remain. Labels are unchanged.
            None is "class" if at least four classes have two images, else "image".
        share: the share to hold out, of the classes or of each class's images, above 0 and below 1.
            None is a fifth; of fewer than 30 classes it is up to a third, to get six.
        seed: the seed of the random choice.
        classes: names of the classes to hold out, instead of a share of them.

    Returns:
        (training, validation), each in the order of `examples`.

    Raises:
        DataError: if there are too few images or classes, or a class does not exist.
        ValueError: if `by` or `share` is out of its range.
    """
    if by not in ("class", "image", None):
        raise ValueError(f'by must be "class" or "image", got {by!r}.')
    if share is not None and not 0 < share < 1:
        raise ValueError(f"share must be from above 0 to below 1, got {share!r}.")
    rng = np.random.default_rng(seed)
    if by is None:
        few = np.count_nonzero(examples.counts >= 2) < FEWEST_TO_SPLIT
        by = "image" if few and not classes else "class"
    if by == "image":
        if classes:
            raise DataError(
                f'Classes to keep back ({", ".join(classes)}) need by = "class", not "image".'
            )
        return _by_image(examples, USUAL_SHARE if share is None else share, rng)
    kept_back = _named(examples, classes) if classes else _drawn(examples, share, rng)
    is_validation = np.isin(examples.labels, kept_back)
    left = np.count_nonzero(examples.counts) - len(kept_back)
    if left < 2:
        raise DataError(
            f"Without the {len(kept_back)} classes to validate on, {left} would be left to train"
            " on, but two are needed; keep fewer back, or some of each class's images (by ="
            ' "image").'
        )
    return (
        examples.subset(np.flatnonzero(~is_validation), relabel=True),
        examples.subset(np.flatnonzero(is_validation), relabel=True),
    )


def _drawn(examples: Examples, share: float | None, rng: np.random.Generator) -> np.ndarray:
    counts = examples.counts
    eligible = np.flatnonzero(counts >= 2)
    if len(eligible) < 2:
        raise DataError(
            f"{len(eligible)} of {examples.num_classes} classes have two images or more, but"
            " validation needs two such classes. Add images, or train without validation."
        )
    present = int(np.count_nonzero(counts))
    # at least two: among images of one class every result is right
    number = max(2, round((share or USUAL_SHARE) * present))
    if share is None:
        number = max(number, min(ENOUGH_CLASSES, present // 3))
    return rng.permutation(eligible)[:number]


def _named(examples: Examples, classes: Sequence[str]) -> np.ndarray:
    numbers = {name: number for number, name in enumerate(examples.class_names)}
    # names of classes are read with `plain_label` too
    classes = [name if name in numbers else plain_label(str(name)) for name in classes]
    for name in classes:
        if name not in numbers:
            names = examples.class_names[:10000]
            similar = difflib.get_close_matches(str(name), names) or names[:5]
            raise DataError(
                f"There is no class {name!r} to keep back; the {examples.num_classes} classes"
                f" include {', '.join(similar)}."
            )
        if examples.counts[numbers[name]] < 2:
            raise DataError(
                f"The class {name!r} has {examples.counts[numbers[name]]} images; validation needs"
                " two of each class."
            )
    chosen = np.unique([numbers[name] for name in classes])
    if len(chosen) < 2:
        raise DataError(
            f"The class {classes[0]!r} alone cannot be validated on: every result among its images"
            " would be right. Name two classes or more."
        )
    return chosen


def _by_image(
    examples: Examples, share: float, rng: np.random.Generator
) -> tuple[Examples, Examples]:
    counts, labels = examples.counts, examples.labels
    sizes = np.clip(np.rint(share * counts).astype(int), 1, np.maximum(counts - 2, 0))
    if not sizes.any():
        raise DataError(
            "No class has three images or more, one to validate on and two to train on."
            ' Add images, keep classes back (by = "class"), or train without validation.'
        )
    order = rng.permutation(len(examples))
    order = order[np.argsort(labels[order], kind="stable")]
    starts = np.cumsum(counts) - counts
    number_in_class = np.arange(len(order)) - starts[labels[order]]
    is_validation = np.zeros(len(examples), bool)
    is_validation[order[number_in_class < sizes[labels[order]]]] = True
    return (
        examples.subset(np.flatnonzero(~is_validation)),
        examples.subset(np.flatnonzero(is_validation)),
    )

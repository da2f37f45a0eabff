"""The sources of ImageNet weights and their image normalisation, as data without a framework."""

from __future__ import annotations

import fnmatch

from dolg_zoo.backbones.registry import BACKBONES, RGB, Source

SOURCES = {name: spec.imagenet for name, spec in BACKBONES.items() if spec.imagenet}

SHIPPED = frozenset(name for name, source in SOURCES.items() if source.is_shipped)
"""Backbones whose ImageNet weights are in a preset of the package."""


def imagenet_normalization(name: str) -> tuple[RGB, RGB]:
    """Return the normalisation for the ImageNet weights of a backbone.

    Args:
        name: A key of `BACKBONES`.

    Returns:
        Mean and standard deviation of red, green and blue: the network's input is
        `(x / 255 - mean) / std` for RGB values x in [0, 255]. A backbone without a source of
        weights gets the usual ImageNet statistics, which the official DOLG uses too.

    Raises:
        ValueError: If there is no such backbone.
    """
    if name not in BACKBONES:
        raise ValueError(f"No backbone {name!r}. There are: {', '.join(BACKBONES)}.")
    return SOURCES.get(name, Source()).normalization


def check_imagenet_source(name: str) -> None:
    """Raise ValueError if there is no source of ImageNet weights for a backbone."""
    if name not in SOURCES:
        raise ValueError(
            f"There is no source of ImageNet weights for backbone {name!r}. "
            f"There is one for: {', '.join(sorted(SOURCES))}."
        )


def list_backbones(pattern: str = "*", weights: str | None = None) -> list[str]:
    """Return the names of the backbones, in the order of `BACKBONES`.

    Args:
        pattern: a pattern with `*` and `?` as in file names, such as "efficientnet*".
        weights: "imagenet" for backbones with ImageNet weights; None for all.

    Raises:
        ValueError: if `weights` is another name.
    """
    if weights not in (None, "imagenet"):
        raise ValueError(f'weights must be "imagenet" or None, got {weights!r}.')
    names = fnmatch.filter(BACKBONES, pattern)
    if weights is None:
        return names
    return [name for name in names if name in SOURCES]

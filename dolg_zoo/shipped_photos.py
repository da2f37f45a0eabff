"""Photographs that are on every machine with dolg-zoo, to try things on."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

SHIPPED = {
    # as the docstrings of skimage.data say; photographs under other or unclear terms are left out
    "astronaut.png": "public domain; NASA Great Images",
    "chelsea.png": "CC0; Stefan van der Walt",
    "coffee.png": "CC0; Rachel Michetti",
    "hubble_deep_field.jpg": "public domain; NASA, HubbleSite",
    "retina.jpg": "CC0; Mikael Häggström, Wikimedia Commons",
    "rocket.jpg": "public domain; SpaceX Photos",
}
"""The photographs in scikit-image's wheel that are used: licence and source of each."""


def shipped_photos() -> list[Path]:
    """The files."""
    shelf = resources.files("skimage.data")
    return [Path(str(shelf / name)) for name in SHIPPED]

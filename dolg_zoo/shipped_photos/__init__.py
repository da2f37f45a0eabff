"""Six photographs that come with dolg-zoo: for the demo, and to compare and calibrate exports."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent

SHIPPED = {
    "astronaut.png": "public domain; NASA Great Images",
    "chelsea.png": "CC0; Stefan van der Walt",
    "coffee.png": "CC0; Rachel Michetti",
    "hubble_deep_field.jpg": "public domain; NASA, HubbleSite",
    "retina.jpg": "CC0; Mikael Häggström, Wikimedia Commons",
    "rocket.jpg": "public domain; SpaceX Photos",
}
"""Name to licence and source."""


def shipped_photos() -> list[Path]:
    """Return the paths of the photographs."""
    return [FOLDER / name for name in SHIPPED]

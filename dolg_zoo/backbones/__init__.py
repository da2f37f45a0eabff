"""Backbones: what turns an image into the two feature maps of DOLG.

`BACKBONES` lists them by name. Importing this package imports no framework; the functions do, when
they are first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .registry import BACKBONES, BackboneSpec

if TYPE_CHECKING:
    from .build import build_backbone
    from .imagenet import imagenet_normalization, load_imagenet_weights
    from .resnet import to_be_filled
    from .taps import two_taps

# No submodule may bear the name of a function here: importing it would hide the function.
_HOMES = {
    "build_backbone": "build",
    "imagenet_normalization": "imagenet",
    "load_imagenet_weights": "imagenet",
    "to_be_filled": "resnet",
    "two_taps": "taps",
}

__all__ = [
    "BACKBONES",
    "BackboneSpec",
    "build_backbone",
    "imagenet_normalization",
    "load_imagenet_weights",
    "to_be_filled",
    "two_taps",
]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)

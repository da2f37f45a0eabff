from .build import build_backbone
from .convolution import to_be_filled
from .imagenet import load_imagenet_weights
from .imagenet_sources import imagenet_normalization, list_backbones
from .registry import BACKBONES, BackboneSpec
from .taps import two_taps

__all__ = [
    "BACKBONES",
    "BackboneSpec",
    "build_backbone",
    "imagenet_normalization",
    "list_backbones",
    "load_imagenet_weights",
    "to_be_filled",
    "two_taps",
]

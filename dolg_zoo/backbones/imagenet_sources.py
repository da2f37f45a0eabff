"""The sources of ImageNet weights and their image normalisation, as data without a framework."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass

from dolg_zoo.backbones.registry import BACKBONES

_RGB = tuple[float, float, float]
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# x / 255: keras-cv trained its own weights with `include_rescaling=True` and nothing besides.
_LITE = ((127 / 255,) * 3, (128 / 255,) * 3)  # (x - 127) / 128
_UNIT_RANGE = ((0.0,) * 3, (1.0,) * 3)


@dataclass(frozen=True)
class Source:
    """Where the weights of a backbone are and what input they were trained with.

    Attributes:
        application: a class of keras.applications.
        kaggle_preset: a preset of keras-cv on Kaggle.
        timm: a repository of timm's on the Hugging Face Hub.
        normalization: mean and standard deviation.
    """

    application: str | None = None
    kaggle_preset: str | None = None
    timm: str | None = None
    normalization: tuple[_RGB, _RGB] = _IMAGENET

    @property
    def timm_architecture(self) -> str | None:
        """What timm calls the architecture."""
        return self.timm and self.timm.partition("/")[2].partition(".")[0]


def _scaled(scale: float) -> tuple[_RGB, _RGB]:
    """Return mean and standard deviation that map x in [0, 255] to x / scale - 1."""
    return (scale / 255,) * 3, (scale / 255,) * 3


SOURCES = {
    **{f"efficientnet_b{i}": Source(f"EfficientNetB{i}") for i in range(8)},
    **{f"efficientnet_v2_b{i}": Source(f"EfficientNetV2B{i}") for i in range(4)},
    **{
        f"efficientnet_v2_{size}": Source(
            f"EfficientNetV2{size.upper()}", normalization=_scaled(128)
        )
        for size in "sml"
    },
    **{
        f"mobilenet_v3_{size.lower()}": Source(f"MobileNetV3{size}", normalization=_scaled(127.5))
        for size in ("Small", "Large")
    },
    **{
        name: Source(kaggle_preset=preset, normalization=_UNIT_RANGE)
        for name, preset in {
            "resnet50_v1": "resnet50_imagenet",
            "resnet50_v2": "resnet50_v2_imagenet",
            "csp_darknet_tiny": "csp_darknet_tiny_imagenet",
            "csp_darknet_l": "csp_darknet_l_imagenet",
            "densenet121": "densenet121_imagenet",
            "densenet169": "densenet169_imagenet",
            "densenet201": "densenet201_imagenet",
            "mit_b0": "mit_b0_imagenet",
        }.items()
    },
    **{f"resnet{depth}": Source(timm=f"timm/resnet{depth}.tv_in1k") for depth in (50, 101, 152)},
    "resnest50": Source(timm="timm/resnest50d.in1k"),
    **{f"resnest{depth}": Source(timm=f"timm/resnest{depth}e.in1k") for depth in (101, 200, 269)},
    **{f"nfnet_f{i}": Source(timm=f"timm/dm_nfnet_f{i}.dm_in1k") for i in range(4)},
    **{f"eca_nfnet_l{i}": Source(timm=f"timm/eca_nfnet_l{i}.ra2_in1k") for i in range(2)},
    "eca_nfnet_l2": Source(timm="timm/eca_nfnet_l2.ra3_in1k"),
    **{
        f"efficientnet_lite_b{i}": Source(
            timm=f"timm/tf_efficientnet_lite{i}.in1k", normalization=_scaled(127.5)
        )
        for i in range(5)
    },
}


SHIPPED = frozenset({"efficientnet_lite_b0"})
"""Backbones whose ImageNet weights are those of a preset in the package, and come from there."""


def imagenet_normalization(name: str) -> tuple[_RGB, _RGB]:
    """Return the normalisation that a backbone's ImageNet weights were trained with.

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
    if name in SHIPPED:
        return _LITE
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
        weights: "imagenet" for those with ImageNet weights; None for all.

    Raises:
        ValueError: if `weights` is another name.
    """
    if weights not in (None, "imagenet"):
        raise ValueError(f'weights must be "imagenet" or None, got {weights!r}.')
    names = fnmatch.filter(BACKBONES, pattern)
    if weights is None:
        return names
    return [name for name in names if name in SOURCES or name in SHIPPED]

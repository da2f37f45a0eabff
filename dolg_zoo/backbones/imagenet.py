"""ImageNet weights for the backbones, from the sources of the Keras ecosystem.

Two sources, by backbone:

- keras.applications, where its network computes the same as keras-cv's: EfficientNet V1 and V2,
  MobileNetV3. Keras compares every file it downloads with a hash in its own source code.
- keras-cv's presets on Kaggle, where keras.applications has another network (ResNet and DenseNet
  pad otherwise) or none (CSPDarkNet, MiT). The version is pinned, and kagglehub compares the file
  with the MD5 sum that the server states, if it states one: that finds a broken transfer, but no
  hash is published to hold the file against. Only arrays are read from it.

The rest have no source here: `load_imagenet_weights` says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest

import keras

from .keras_cv import build_pretrained
from .registry import BACKBONES
from .taps import tap_layers

_RGB = tuple[float, float, float]
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# x / 255: keras-cv trained its own weights with `include_rescaling=True` and nothing besides.
_LITE = ((127 / 255,) * 3, (128 / 255,) * 3)  # (x - 127) / 128
_UNIT_RANGE = ((0.0,) * 3, (1.0,) * 3)


@dataclass(frozen=True)
class _Source:
    """Where the weights of a backbone are and what input they were trained with."""

    application: str | None = None
    kaggle_preset: str | None = None
    normalization: tuple[_RGB, _RGB] = _IMAGENET


def _scaled(scale: float) -> tuple[_RGB, _RGB]:
    """Mean and standard deviation that make x / scale - 1 of x in [0, 255]."""
    return (scale / 255,) * 3, (scale / 255,) * 3


_SOURCES = {
    **{f"efficientnet_b{i}": _Source(f"EfficientNetB{i}") for i in range(8)},
    **{f"efficientnet_v2_b{i}": _Source(f"EfficientNetV2B{i}") for i in range(4)},
    **{
        f"efficientnet_v2_{size}": _Source(
            f"EfficientNetV2{size.upper()}", normalization=_scaled(128)
        )
        for size in "sml"
    },
    **{
        f"mobilenet_v3_{size.lower()}": _Source(f"MobileNetV3{size}", normalization=_scaled(127.5))
        for size in ("Small", "Large")
    },
    **{
        name: _Source(kaggle_preset=preset, normalization=_UNIT_RANGE)
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
}


def imagenet_normalization(name: str) -> tuple[_RGB, _RGB]:
    """The normalisation that a backbone's ImageNet weights were trained with.

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
    if name.startswith("efficientnet_lite"):
        return _LITE  # their weights do not come from here, but from the embedded preset's source
    return _SOURCES.get(name, _Source()).normalization


def check_imagenet_source(name: str) -> None:
    """Raise ValueError if `load_imagenet_weights` has no source of weights for a backbone."""
    if name not in _SOURCES:
        raise ValueError(
            f"There is no source of ImageNet weights for backbone {name!r}. "
            f"There is one for: {', '.join(sorted(_SOURCES))}."
        )


def load_imagenet_weights(name: str, backbone: keras.Model) -> None:
    """Download ImageNet weights and put them into a backbone, in place.

    The module's docstring says where they come from and what is checked. The backbone then expects
    images normalised with `imagenet_normalization(name)`.

    Args:
        name: A key of `BACKBONES`.
        backbone: What `build_backbone(name)` returned, with any taps and input shape.

    Raises:
        ValueError: If there is no source of weights for that backbone, or it is not that backbone.
        Exception: What Keras or kagglehub raises when a download fails or a hash does not match.
    """
    check_imagenet_source(name)
    source = _SOURCES[name]
    if source.application:
        trained = getattr(keras.applications, source.application)(include_top=False)
        port_keras_applications(trained, backbone)
    else:
        trained = build_pretrained(BACKBONES[name], source.kaggle_preset)
        backbone.set_weights(tap_layers(trained, backbone.output_names).get_weights())


def port_keras_applications(source: keras.Model, backbone: keras.Model) -> list[str]:
    """Copy the weights of a keras.applications network into the backbone of the same architecture.

    They are matched by their order. In the families that come from keras.applications all layers
    with weights lie on one chain, the shortcuts having none, so there is but one order.

    Args:
        source: The network, with or without its top.
        backbone: What `build_backbone` returned.

    Returns:
        The paths of those weights of the source that the backbone has no place for: its in-model
        normalisation and what lies past the taps.

    Raises:
        ValueError: If the networks differ; nothing has been copied then.
    """
    unused, given = [], []
    for layer in source.layers:
        (unused if isinstance(layer, keras.layers.Normalization) else given).extend(layer.weights)
    wanted = backbone.weights
    for theirs, ours in zip_longest(given[: len(wanted)], wanted):
        if theirs is None or (theirs.name, theirs.shape) != (ours.name, ours.shape):
            found = f"{theirs.path} {theirs.shape}" if theirs is not None else "nothing more"
            raise ValueError(
                f"The weights of {source.name!r} do not fit backbone {backbone.name!r}: for "
                f"{ours.path} {ours.shape} it has {found}."
            )
    for theirs, ours in zip(given, wanted, strict=False):
        ours.assign(theirs)
    return [weight.path for weight in unused + given[len(wanted) :]]

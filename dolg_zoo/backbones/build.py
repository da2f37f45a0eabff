"""Build a backbone of the registry by its name."""

from __future__ import annotations

import difflib
from importlib import import_module

import keras

from dolg_zoo._util.types import Shape
from dolg_zoo.backbones.keras_cv import build_keras_cv
from dolg_zoo.backbones.registry import BACKBONES, BackboneSpec
from dolg_zoo.backbones.taps import check_taps, tap_layers


def check_keras() -> None:
    """Raise ValueError unless Keras runs on TensorFlow with channels-last images."""
    backend, layout = keras.config.backend(), keras.config.image_data_format()
    if backend != "tensorflow":
        raise ValueError(
            f"dolg-zoo needs Keras on TensorFlow, but Keras is on {backend!r}; set"
            ' KERAS_BACKEND=tensorflow, or "backend" in ~/.keras/keras.json, before Python starts.'
        )
    if layout != "channels_last":
        raise ValueError(
            f"dolg-zoo needs images in the layout 'channels_last', but Keras is set to {layout!r};"
            ' correct "image_data_format" in ~/.keras/keras.json, or call'
            ' keras.config.set_image_data_format("channels_last").'
        )


def build_backbone(
    name: str,
    *,
    taps: tuple[str, str] | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
) -> keras.Model:
    """Build a backbone with two outputs, with new weights.

    The network does not normalise its input: see `imagenet_normalization`.

    Args:
        name: A key of `BACKBONES`.
        taps: The local and the global tap: each a level "P2" to "P5", of stride 4 to 32, or the
            name of a layer. The default is ("P4", "P5"), as in the paper (arXiv 2108.02927).
        input_shape: (height, width, channels); height and width may be None, as by default. The
            MiT backbones need both, equal and a multiple of 32; their default is (224, 224, 3).
            CSPDarkNet takes images of even height and width only.

    Returns:
        A functional model called `name` from images (batch, height, width, channels) to
        `[local map, global map]`, channels last.

    Raises:
        ValueError: If there is no such backbone or tap, or the input shape does not fit.
    """
    check_keras()
    if name not in BACKBONES:
        near = difflib.get_close_matches(name, BACKBONES, n=3)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"No backbone {name!r}.{hint} There are: {', '.join(BACKBONES)}.")
    spec = BACKBONES[name]
    shape = _checked_shape(name, spec, input_shape)
    taps = taps or ("P4", "P5")
    check_taps(taps)  # before the work of building
    if spec.builder is None:
        network, levels = build_keras_cv(spec, shape)
    else:
        build = getattr(import_module(f"dolg_zoo.backbones.{spec.builder}"), spec.builder)
        network, levels = build(**spec.arguments, input_shape=shape)
    return tap_layers(network, taps, levels, name=name)


def _checked_shape(name: str, spec: BackboneSpec, shape: Shape | None) -> Shape:
    if shape is None:
        return spec.input_shape
    if spec.square and (shape[0] != shape[1] or shape[0] is None or shape[0] % 32):
        raise ValueError(
            f"Backbone {name!r} cannot be built for input_shape={shape!r}: it needs a known "
            "square size, a multiple of 32, such as (224, 224, 3)."
        )
    if spec.even and any(size and size % 2 for size in shape[:2]):
        raise ValueError(
            f"Backbone {name!r} cannot be built for input_shape={shape!r}: its height and width "
            "have to be even."
        )
    return shape

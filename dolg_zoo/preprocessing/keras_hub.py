"""Translate the preprocessing of a keras-hub preset to this package, without keras-hub."""

from __future__ import annotations

from typing import Any

import numpy as np

from dolg_zoo._util.arguments import finite
from dolg_zoo.preprocessing.converter import ImageConverter

_RGB = tuple[float, float, float]
_SETTINGS = (
    "image_size",
    "scale",
    "offset",
    "crop_to_aspect_ratio",
    "pad_to_aspect_ratio",
    "interpolation",
    "antialias",
    "data_format",
)


def keras_hub_preprocessing(
    converter: Any, mode: str | None = None
) -> tuple[ImageConverter, _RGB, _RGB]:
    """Return the preprocessing of a keras-hub backbone, for `DOLG` and for `DOLGConfig`.

    The backbone then gets the values of keras-hub's converter for the same pixels:
    x * scale + offset = (x / 255 - mean) / std. Unlike keras-hub, this package rounds a resized
    image to whole levels from 0 to 255.

    Args:
        converter: a `keras_hub.layers.ImageConverter`, as its `from_preset` returns it.
        mode: the mode of the `ImageConverter`. None: "squash" to the converter's `image_size`, or
            "original" if it has none. Most presets of keras-hub crop an image that is not square;
            an `ImageConverter` does not crop: give "short_side", which keeps the aspect ratio and
            the whole image, or "squash", which a backbone of fixed size needs.

    Returns:
        The image converter, and mean and standard deviation of red, green and blue.

    Raises:
        ValueError: if it is no such converter, or this package lacks its computation: a crop or
            borders, unless `mode` replaces them; an interpolation other than bilinear, or bicubic
            with antialiasing; a scale that is not above 0.
    """
    missing = [name for name in _SETTINGS if not hasattr(converter, name)]
    if missing or _computes_otherwise(converter):
        raise ValueError(
            "converter must be a keras_hub.layers.ImageConverter that resizes, scales and shifts,"
            f" and nothing else, got {converter!r}."
        )
    if converter.data_format != "channels_last":
        raise ValueError(
            f"converter.data_format is {converter.data_format!r}; images here have their channels"
            ' last: give its from_preset data_format="channels_last".'
        )
    mean, std = _normalization(converter.scale, converter.offset)
    return _image_converter(converter, mode), mean, std


def _computes_otherwise(converter: Any) -> bool:
    """Return whether the converter's class computes something of its own, such as Gemma's."""
    for cls in type(converter).__mro__:
        if cls.__name__ == "ImageConverter" and cls.__module__.startswith("keras_hub."):
            return False
        if {"call", "_call_python", "_call_tf"} & vars(cls).keys():
            return True
    return True


def _normalization(scale: Any, offset: Any) -> tuple[_RGB, _RGB]:
    scales = _of_channels("scale", 1.0 if scale is None else scale)
    offsets = _of_channels("offset", 0.0 if offset is None else offset)
    if min(scales) <= 0:
        raise ValueError(f"converter.scale must be above 0, got {scale!r}.")
    red, green, blue = (1 / (255 * each) for each in scales)
    std = (red, green, blue)
    red, green, blue = (-shift * each for shift, each in zip(offsets, std, strict=True))
    return (red, green, blue), std


def _of_channels(name: str, value: Any) -> list[float]:
    values = np.asarray(value, dtype=object).ravel().tolist()
    numbers = [number for each in values if (number := finite(each)) is not None]
    if len(numbers) != len(values) or len(values) not in (1, 3):
        raise ValueError(f"converter.{name} must be a number, or three for RGB, got {value!r}.")
    return numbers * (3 // len(numbers))


def _image_converter(converter: Any, mode: str | None) -> ImageConverter:
    size = converter.image_size
    if size is None:
        if mode not in (None, "original"):
            raise ValueError(
                f"converter.image_size is None, which mode={mode!r} needs; set it, for instance"
                " converter.image_size = (224, 224), or leave mode out."
            )
        return ImageConverter(size=None, mode="original")
    height, width = size
    for name, does in (("crop_to_aspect_ratio", "crops"), ("pad_to_aspect_ratio", "pads")):
        if getattr(converter, name) and mode is None:
            raise ValueError(
                f"converter.{name} is True, and ImageConverter neither crops nor pads: where"
                f' keras-hub {does} an image, give mode="short_side" to keep the aspect ratio, or'
                ' mode="squash" for a backbone of fixed size.'
            )
    interpolation, antialias = converter.interpolation, bool(converter.antialias)
    if (interpolation, antialias) not in (
        ("bilinear", False),
        ("bilinear", True),
        ("bicubic", True),
    ):
        # without antialiasing, the bicubic filters of Pillow and TensorFlow differ
        raise ValueError(
            f"converter.interpolation={interpolation!r} with antialias={antialias} is not"
            ' supported here. Give its from_preset "bilinear", or "bicubic" with antialias=True.'
        )
    mode = mode or "squash"
    if mode != "squash" and height != width:
        raise ValueError(
            f"converter.image_size={tuple(size)!r} has two different sides, and mode={mode!r} has"
            ' one; give mode="squash".'
        )
    return ImageConverter(
        size=int(height) if height == width else (int(height), int(width)),
        mode=mode,
        interpolation=interpolation,
        antialias=antialias,
    )

"""The margin head that a preset was trained with: a file in the preset for further training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import keras
import numpy as np

from dolg_zoo import layers
from dolg_zoo.checkpoints.porting import MarginHead
from dolg_zoo.errors import PresetError
from dolg_zoo.models.dolg_config import MAX_SIZE

# the layers that a preset can store, with their settings
LAYERS = {
    "ArcFace": ("num_classes", "scale", "margin"),
    "CurricularFace": ("num_classes", "scale", "margin"),
    "SubCenterArcFace": ("num_classes", "centers_per_class", "scale", "margin"),
    "CosineSoftmax": ("num_classes", "scale"),
}
MAX_SIZES = {"num_classes": 2**24, "centers_per_class": 2**10, "dim": MAX_SIZE}


def margin_head_of(layer: keras.layers.Layer) -> MarginHead:
    """Return a margin head as data, for `write_preset`.

    Raises:
        PresetError: if a preset cannot store the layer, or it has no weights yet.
    """
    name = type(layer).__name__
    if name not in LAYERS or not layer.built or getattr(layer, "momentum", 0.99) != 0.99:
        raise PresetError(
            f"A preset keeps a margin head that is built: {', '.join(LAYERS)} of"
            f" dolg_zoo.layers, with the default momentum. Got {layer!r}."
        )
    arrays = {weight.name: np.asarray(weight) for weight in layer.weights}
    return MarginHead(name, layer.scale, layer.margin, arrays)


def describe_margin_head(head: MarginHead) -> dict[str, Any]:
    """Return the description of a head for config.json; its arrays are in another file."""
    shape = head.arrays["centers"].shape
    settings = {
        "num_classes": shape[0],
        "centers_per_class": shape[1],  # SubCenterArcFace only
        "scale": head.scale,
        "margin": head.margin,
    }
    own_settings = {name: settings[name] for name in LAYERS[head.layer]}
    return {"layer": head.layer, "dim": shape[-1], **own_settings}


def save_margin_head(head: MarginHead, path: Path) -> None:
    """Write a head's arrays; memory-mapped arrays are not read into memory as a whole."""
    arrays: dict[str, Any] = {n: np.asarray(a, np.float32) for n, a in head.arrays.items()}
    np.savez(path, **arrays)


def load_margin_head(description: dict[str, Any], path: Path) -> keras.layers.Layer:
    """Return the described layer with the weights in its file.

    Raises:
        PresetError: if the description or the file is invalid.
    """
    layer = _layer(description, path)
    try:
        # Check the size before memory is allocated: config.json is not trusted.
        shape = tuple(description[name] for name in MAX_SIZES if name in description)
        if not path.is_file():  # a pipe would hang
            raise ValueError("it is no regular file")
        if (size := path.stat().st_size) < 4 * math.prod(shape):
            raise ValueError(f"its {size} bytes are too few for centers of shape {shape}")
        layer.build((None, description["dim"]))
        with np.load(path, allow_pickle=False) as arrays:
            if any(entry.compress_type for entry in arrays.zip.infolist()):
                raise ValueError("it is compressed, so it may need too much memory")
            if set(arrays.files) != {weight.name for weight in layer.weights}:
                raise ValueError(f"it holds {sorted(arrays.files)}")
            for weight in layer.weights:
                value = arrays[weight.name]
                if value.dtype != np.float32 or not np.isfinite(value).all():
                    raise ValueError(f"{weight.name} has values that are not finite float32")
                if weight.name == "margins":
                    layer.set_margins(value)
                else:
                    weight.assign(value)
    except Exception as error:  # NumPy, zipfile and Keras raise many types for a damaged file
        raise PresetError(f"{path} cannot be read as a margin head: {error}") from error
    return layer


def _layer(description: dict[str, Any], path: Path) -> keras.layers.Layer:
    name = description.get("layer") if isinstance(description, dict) else None
    settings = LAYERS.get(name, ()) if isinstance(name, str) else ()
    if (
        not settings
        or set(description) != {"layer", "dim", *settings}
        or not all(
            type(description[key]) is int and 0 < description[key] <= MAX_SIZES[key]
            for key in MAX_SIZES.keys() & description
        )
    ):
        choices = "; ".join(f"{layer} with dim, {', '.join(LAYERS[layer])}" for layer in LAYERS)
        raise PresetError(
            f"{path.parent / 'config.json'}: margin_head must give a layer and its settings"
            f" ({choices}), got {description!r}."
        )
    try:
        arguments = {key: description[key] for key in settings}
        return getattr(layers, str(name))(**arguments, name="margin_head")
    except (ValueError, OverflowError) as error:
        raise PresetError(f"{path.parent / 'config.json'}: margin_head: {error}") from error

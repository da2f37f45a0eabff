"""The margin head of a preset's training, stored beside it and read only for more training."""

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

# the settings of each layer that a preset can keep
LAYERS = {
    "ArcFace": ("num_classes", "scale", "margin"),
    "CurricularFace": ("num_classes", "scale", "margin"),
    "SubCenterArcFace": ("num_classes", "centers_per_class", "scale", "margin"),
    "CosineSoftmax": ("num_classes", "scale"),
}
MAX_SIZES = {"num_classes": 2**24, "centers_per_class": 2**10, "dim": MAX_SIZE}


def margin_head_of(layer: keras.layers.Layer) -> MarginHead:
    """Return a head as data, for `write_preset`.

    Raises:
        PresetError: if it is none that a preset keeps, or has no weights yet.
    """
    name = type(layer).__name__
    if name not in LAYERS or not layer.built or getattr(layer, "momentum", 0.99) != 0.99:
        raise PresetError(
            f"A preset keeps a margin head that is built: {', '.join(LAYERS)} of"
            f" dolg_zoo.layers, with the default momentum; got {layer!r}."
        )
    arrays = {weight.name: np.asarray(weight) for weight in layer.weights}
    return MarginHead(name, layer.scale, layer.margin, arrays)


def describe_margin_head(head: MarginHead) -> dict[str, Any]:
    """Return the description of a head for config.json; its arrays are in a file beside it."""
    shape = head.arrays["centers"].shape
    settings = {
        "num_classes": shape[0],
        "centers_per_class": shape[1],  # of the layer that has that setting
        "scale": head.scale,
        "margin": head.margin,
    }
    stated = {name: settings[name] for name in LAYERS[head.layer]}
    return {"layer": head.layer, "dim": shape[-1], **stated}


def save_margin_head(head: MarginHead, path: Path) -> None:
    """Write a head's arrays; they may be memory-mapped, and are then never held whole."""
    arrays: dict[str, Any] = {n: np.asarray(a, np.float32) for n, a in head.arrays.items()}
    np.savez(path, **arrays)


def load_margin_head(described: dict[str, Any], path: Path) -> keras.layers.Layer:
    """Return the layer that was described, filled from its file.

    Raises:
        PresetError: if the description or the file is not what `write_preset` writes.
    """
    layer = _layer(described, path)
    try:
        # before the layer takes the memory that a stranger's config.json asks for
        shape = tuple(described[name] for name in MAX_SIZES if name in described)
        if not path.is_file():  # a pipe would hang
            raise ValueError("it is no file")
        if (size := path.stat().st_size) < 4 * math.prod(shape):
            raise ValueError(f"its {size} bytes are too few for centers of shape {shape}")
        layer.build((None, described["dim"]))
        with np.load(path, allow_pickle=False) as arrays:
            if any(entry.compress_type for entry in arrays.zip.infolist()):
                raise ValueError("it is compressed, so it may hold more than there is memory")
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


def _layer(described: dict[str, Any], path: Path) -> keras.layers.Layer:
    name = described.get("layer") if isinstance(described, dict) else None
    settings = LAYERS.get(name, ()) if isinstance(name, str) else ()
    if (
        not settings
        or set(described) != {"layer", "dim", *settings}
        or not all(
            type(described[key]) is int and 0 < described[key] <= MAX_SIZES[key]
            for key in MAX_SIZES.keys() & described
        )
    ):
        known = "; ".join(f"{layer} with dim, {', '.join(LAYERS[layer])}" for layer in LAYERS)
        raise PresetError(
            f"{path.parent / 'config.json'}: margin_head must give a layer and its settings"
            f" ({known}), got {described!r}."
        )
    try:
        given = {key: described[key] for key in settings}
        return getattr(layers, str(name))(**given, name="margin_head")
    except (ValueError, OverflowError) as error:
        raise PresetError(f"{path.parent / 'config.json'}: margin_head: {error}") from error

"""The head that a preset was trained under: kept beside it, and read only by who trains on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from dolg_zoo import layers
from dolg_zoo.models.dolg_config import MAX_SIZE
from dolg_zoo.porting import MarginHead
from dolg_zoo.presets.errors import PresetError

LAYERS = ("ArcFace", "CurricularFace")
MAX_CLASSES = 2**24


def margin_head_of(layer: keras.layers.Layer) -> MarginHead:
    """A head as data, for `write_preset`.

    Raises:
        PresetError: if it is none that a preset keeps, or has no weights yet.
    """
    name = type(layer).__name__
    if name not in LAYERS or not layer.built or getattr(layer, "momentum", 0.99) != 0.99:
        raise PresetError(
            f"A preset keeps a margin head that is built: {' or '.join(LAYERS)} of"
            f" dolg_zoo.layers, with the default momentum; got {layer!r}."
        )
    arrays = {weight.name: np.asarray(weight) for weight in layer.weights}
    return MarginHead(name, layer.scale, layer.margin, arrays)


def describe_margin_head(head: MarginHead) -> dict[str, Any]:
    """What config.json says of a head, next to which its arrays lie."""
    classes, dim = head.arrays["centers"].shape
    return {
        "layer": head.layer,
        "num_classes": classes,
        "dim": dim,
        "scale": head.scale,
        "margin": head.margin,
    }


def save_margin_head(head: MarginHead, path: Path) -> None:
    """Writes a head's arrays; they may be memory-mapped, and are then never held whole."""
    np.savez(path, **{name: np.asarray(a, np.float32) for name, a in head.arrays.items()})


def load_margin_head(described: dict[str, Any], path: Path) -> keras.layers.Layer:
    """The layer that was described, filled from its file.

    Raises:
        PresetError: if the description or the file is not what `write_preset` writes.
    """
    layer = _layer(described, path)
    try:
        _check_size(path, described["num_classes"], described["dim"])
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
                weight.assign(value)
    except Exception as error:  # NumPy, zipfile and Keras raise many types for a damaged file
        raise PresetError(f"{path} cannot be read as a margin head: {error}") from error
    return layer


def _check_size(path: Path, classes: int, dim: int) -> None:
    # before the layer takes the memory that a stranger's config.json asks for
    if not path.is_file():  # a pipe would hang
        raise ValueError("it is no file")
    size = path.stat().st_size
    if size < 4 * classes * dim:
        raise ValueError(f"its {size} bytes are too few for {classes} classes of {dim} numbers")


def _layer(described: dict[str, Any], path: Path) -> keras.layers.Layer:
    def is_size(value: Any, most: int) -> bool:
        return type(value) is int and 0 < value <= most

    wanted = {"layer", "num_classes", "dim", "scale", "margin"}
    if (
        not isinstance(described, dict)
        or set(described) != wanted
        or described["layer"] not in LAYERS
        or not is_size(described["num_classes"], MAX_CLASSES)
        or not is_size(described["dim"], MAX_SIZE)
    ):
        raise PresetError(
            f"{path.parent / 'config.json'}: margin_head must give a layer of {', '.join(LAYERS)}"
            f" with {', '.join(sorted(wanted))}, got {described!r}."
        )
    try:
        return getattr(layers, described["layer"])(
            described["num_classes"],
            scale=described["scale"],
            margin=described["margin"],
            name="margin_head",
        )
    except (ValueError, OverflowError) as error:
        raise PresetError(f"{path.parent / 'config.json'}: margin_head: {error}") from error

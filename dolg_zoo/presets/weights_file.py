"""model.weights.h5: written in one step, and read only if it holds this network's tensors."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import keras
import numpy as np

from dolg_zoo.presets.errors import PresetError


def save_weights(net: keras.Model, path: Path) -> None:
    """Writes the network's weights, so that `path` is at every moment whole, old or new."""
    partial = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        net.save_weights(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load_weights(net: keras.Model, path: Path) -> None:
    """Fills the network from a file that `save_weights` wrote for the same architecture.

    Raises:
        PresetError: if the file is missing or damaged, leads outside itself, or does not hold one
            tensor for each of the network's.
    """
    if not path.is_file():
        raise PresetError(f"{path.parent} is no preset: it has no {path.name}.")
    try:
        shapes = _shapes(path)
        expected = sorted(tuple(variable.shape) for variable in net.weights)
        if sorted(shapes) != expected:
            raise PresetError(
                f"{path} holds {len(shapes)} tensors that are not the {len(expected)} of this"
                " architecture; config.json and the weights belong to different models."
            )
        net.load_weights(path)
    except PresetError:
        raise
    except Exception as error:  # h5py and Keras raise nearly every type there is
        raise PresetError(f"{path} cannot be read as weights: {error}") from error
    for weight in net.weights:
        if not np.isfinite(weight).all():
            raise PresetError(f"{path}: {weight.path} holds values that are not finite.")


def _shapes(path: Path) -> list[tuple[int, ...]]:
    """The shape of every tensor in the file, from its headers alone."""
    shapes = []
    seen = set()

    def look(group: h5py.Group) -> None:
        address = h5py.h5o.get_info(group.id).addr
        if address in seen:  # or two links a level would double the work at each
            raise PresetError(f"{path} has two links to {group.name}; weights have one.")
        seen.add(address)
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise PresetError(f"{path} has a link at {group.name}/{name}; weights have none.")
            item = group[name]
            if isinstance(item, h5py.Group):
                look(item)
            elif item.external or item.is_virtual:
                raise PresetError(f"{path} keeps {item.name} in another file; weights do not.")
            else:
                shapes.append(item.shape)

    with h5py.File(path, "r") as file:
        look(file)
    return shapes

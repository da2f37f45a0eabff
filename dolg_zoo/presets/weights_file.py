"""Read model.weights.h5 if it has the network's tensors and nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from dolg_zoo.errors import PresetError
from dolg_zoo.models import finalize_normalization


def load_weights(net: keras.Model, path: Path) -> None:
    """Load the network's weights from Keras's `save_weights` file, or raise PresetError."""
    if not path.is_file():
        raise PresetError(f"{path.parent} is no preset: it has no {path.name}.")
    try:
        with h5py.File(path, "r") as file:
            datasets = _datasets(file)
            shapes = sorted(dataset.shape for dataset in datasets.values())
            expected = sorted(tuple(weight.shape) for weight in net.weights)
            if shapes != expected:
                raise PresetError(
                    f"{path} has {len(shapes)} tensors, which are not the {len(expected)} tensors"
                    " of this architecture; config.json and the weights belong to different models."
                )
            by_name = _by_name(net, datasets)
            mapped = np.memmap(path, np.uint8, mode="r")
            for weight, dataset in by_name:
                weight.assign(_values(dataset, mapped))
        if not by_name:
            net.load_weights(path)
        check_finite(net, path)
    except (PresetError, MemoryError):
        raise
    except Exception as error:  # h5py and Keras raise nearly every type there is
        raise PresetError(f"{path} cannot be read as weights: {error}") from error
    finalize_normalization(net)


def _by_name(
    net: keras.Model, datasets: Mapping[str, h5py.Dataset]
) -> list[tuple[keras.Variable, h5py.Dataset]]:
    """Return each weight with its tensor, by Keras's layer names; [] if names are ambiguous."""
    # Faster than Keras: its search of all attributes of all layers takes longer than reading.
    by_group, by_layer_path = defaultdict(list), defaultdict(list)
    for path in sorted(datasets, key=_group_and_number):
        by_group[path.rpartition("/")[0]].append(datasets[path])
    for weight in net.weights:
        by_layer_path[weight.path.rpartition("/")[0]].append(weight)
    names = [tensors[0].parent.attrs.get("name") for tensors in by_group.values()]
    layers = [layer.rpartition("/")[2] for layer in by_layer_path]
    if len(set(names)) < len(names) or sorted(map(str, names)) != sorted(layers):
        return []
    if any("dtype" in dataset.attrs for dataset in datasets.values()):  # bfloat16, as raw bytes
        return []
    by_name = dict(zip(names, by_group.values(), strict=True))
    pairs: list[tuple[Any, Any]] = []
    for layer, weights in by_layer_path.items():
        tensors = by_name[layer.rpartition("/")[2]]
        if [dataset.shape for dataset in tensors] != [tuple(weight.shape) for weight in weights]:
            return []
        pairs += zip(weights, tensors, strict=True)
    return pairs


def _group_and_number(path: str) -> tuple[str, int]:
    group, _, number = path.rpartition("/")
    return group, int(number) if number.isdigit() else -1


def check_finite(net: keras.Model, path: Path) -> None:
    """Raise PresetError, with the path, if a weight is not finite."""
    for weight in net.weights:
        if not np.isfinite(np.asarray(weight)).all():
            raise PresetError(f"{path}: {weight.path} has values that are not finite.")


def _values(dataset: h5py.Dataset, mapped: np.memmap) -> np.ndarray:
    """Return a tensor's values, not copied if the file has them uncompressed in one piece."""
    offset = dataset.id.get_offset()
    if offset is None:  # compressed, in chunks, or never written
        return dataset[()]
    values = mapped[offset : offset + dataset.nbytes]
    return values.view(dataset.dtype).reshape(dataset.shape)


def _datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Return each tensor's header by its path; values are not read."""
    datasets: dict[str, h5py.Dataset] = {}
    seen = set()

    def look(group: h5py.Group) -> None:
        address = h5py.h5o.get_info(group.id).addr
        if address in seen:  # two links on each level would double the work per level
            raise PresetError(f"{file.filename} has two links to {group.name}; Keras writes one.")
        seen.add(address)
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise PresetError(
                    f"{file.filename} has a link at {group.name}/{name}; Keras writes none."
                )
            item = group[name]
            if isinstance(item, h5py.Group):
                look(item)
            elif item.external or item.is_virtual:
                raise PresetError(
                    f"{file.filename} keeps {item.name} in another file; Keras does not."
                )
            else:
                datasets[item.name] = item

    look(file)
    return datasets

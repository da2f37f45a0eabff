"""The facts that a preset's files state, read without Keras."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dolg_zoo.errors import PresetError
from dolg_zoo.presets.files import check_preset, read_description
from dolg_zoo.presets.registry import ResolvedPreset
from dolg_zoo.weights.manifest import (
    CONFIG,
    MARGIN_HEAD,
    PRESET_FILES,
    WEIGHTS,
    PresetEntry,
)


def preset_facts(resolved: ResolvedPreset) -> dict[str, Any]:
    """Return the facts about a preset from its files and the manifest, as JSON values."""
    entry, folder = resolved.entry, resolved.folder
    description = read_description(folder)
    if not resolved.sha256:
        check_preset(folder)
    metadata = {**description.metadata, **resolved.metadata}
    sha256 = metadata.get("sha256", {})
    if isinstance(entry, PresetEntry):  # a converted preset was made on this machine
        sha256 = {name: file.sha256 for name, file in entry.files.items()}
    files = {*PRESET_FILES, *sha256} & {path.name for path in folder.iterdir()}
    keys = ("limits", "description", "dataset", "license", "license_note", "provenance")
    facts = {
        "preset": resolved.name,
        "architecture": description.config.to_dict(),
        "backbone_layers": _layers(description.backbone, folder / CONFIG),
        "parameters": count_parameters(folder / WEIGHTS),
        "bytes": sum((folder / name).stat().st_size for name in files),
        "margin_head": MARGIN_HEAD in files,
        "input": description.image_converter.to_config(),
        "sha256": sha256,
        "limits": "",
        "source": None,
        "figures": [],
        **{key: metadata.get(key, "") for key in keys},
        **(entry.metadata() if entry else {}),
    }
    facts.pop("name", None)  # equal to `preset`
    return facts


def _layers(backbone: Mapping[str, Any] | None, path: Path) -> int | None:
    """Return the number of layers of a custom backbone; None for a backbone of the zoo."""
    try:
        return None if backbone is None else len(backbone["config"]["layers"])
    except (TypeError, KeyError) as error:
        raise PresetError(f"{path}: {error}") from error


def count_parameters(path: Path) -> int:
    """Return the number of floats in a weights file; random generators' states are integers."""
    import h5py

    sizes = []

    def add(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind == "f":
            sizes.append(math.prod(item.shape))

    try:
        with h5py.File(path) as file:
            file.visititems(add)
    except (OSError, RuntimeError) as error:
        raise PresetError(f"{path} is no Keras weights file: {error}") from error
    return sum(sizes)

"""The facts about a preset that its files state, read without Keras."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dolg_zoo.errors import PresetError
from dolg_zoo.models import DOLGConfig
from dolg_zoo.preprocessing import ImageConverter
from dolg_zoo.presets.files import FORMAT_VERSION, check_preset, read_json
from dolg_zoo.presets.registry import ResolvedPreset
from dolg_zoo.weights import load_manifest
from dolg_zoo.weights.manifest import (
    CONFIG,
    MARGIN_HEAD,
    METADATA,
    PREPROCESSOR,
    PRESET_FILES,
    WEIGHTS,
    PresetEntry,
)


@dataclass(frozen=True)
class PresetDescription:
    """Facts about a preset."""

    config: DOLGConfig
    image_converter: ImageConverter
    metadata: Mapping[str, Any]
    parameters: int  # trained or not
    backbone_layers: int | None  # number of layers of a custom backbone, else None


def describe_preset(resolved: ResolvedPreset) -> PresetDescription:
    """Read the facts about a preset from its folder; a PresetError names the file at fault."""
    folder = resolved.folder
    config = read_json(folder / CONFIG, FORMAT_VERSION)
    converter = read_json(folder / PREPROCESSOR)
    if not resolved.sha256:
        check_preset(folder)
    try:
        dolg = DOLGConfig.from_dict(config["dolg"])
        layers = None if dolg.backbone else len(config["backbone"]["config"]["layers"])
    except (ValueError, TypeError, KeyError) as error:
        raise PresetError(f"{folder / CONFIG}: {error}") from error
    try:
        image_converter = ImageConverter.from_config(converter)
    except (ValueError, TypeError) as error:
        raise PresetError(f"{folder / PREPROCESSOR}: {error}") from error
    metadata = {**read_json(folder / METADATA), **resolved.metadata, "preset": resolved.name}
    return PresetDescription(dolg, image_converter, metadata, _parameters(folder / WEIGHTS), layers)


def preset_facts(resolved: ResolvedPreset) -> dict[str, Any]:
    """Return the facts that a preset's files and the manifest state about it, as in JSON."""
    described = describe_preset(resolved)
    metadata, folder = described.metadata, resolved.folder
    entry = load_manifest().entries.get(resolved.name)
    sha256 = metadata.get("sha256", {})
    if isinstance(entry, PresetEntry):  # a converted preset is this machine's own
        sha256 = {name: file.sha256 for name, file in entry.files.items()}
    files = {*PRESET_FILES, *sha256} & {path.name for path in folder.iterdir()}
    stated = ("limits", "description", "dataset", "license", "license_note", "provenance")
    facts = {
        "preset": resolved.name,
        "architecture": described.config.to_dict(),
        "backbone_layers": described.backbone_layers,
        "parameters": described.parameters,
        "bytes": sum((folder / name).stat().st_size for name in files),
        "margin_head": MARGIN_HEAD in files,
        "input": described.image_converter.to_config(),
        "sha256": sha256,
        "limits": "",
        "source": None,
        "figures": [],
        **{key: metadata.get(key, "") for key in stated},
        **(entry.metadata() if entry else {}),
    }
    facts.pop("name", None)  # which is that of the preset
    return facts


def _parameters(path: Path) -> int:
    """Return the number of floats in a weights file; the states of random generators are none."""
    import h5py

    sizes = []

    def add(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind == "f":
            sizes.append(math.prod(item.shape))

    try:
        with h5py.File(path) as file:
            file.visititems(add)
    except (OSError, RuntimeError) as error:
        raise PresetError(f"{path} is no weights file of Keras: {error}") from error
    return sum(sizes)

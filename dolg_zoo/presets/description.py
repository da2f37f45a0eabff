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
from dolg_zoo.weights.manifest import CONFIG, METADATA, PREPROCESSOR, WEIGHTS


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

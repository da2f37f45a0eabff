"""Read the JSON files of a preset folder and check the sha256 of its files, without Keras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dolg_zoo._util.files import user_path
from dolg_zoo._util.hashing import fault_in
from dolg_zoo._util.json_files import read_json_object
from dolg_zoo._util.own_folders import TRAINED
from dolg_zoo._util.records import read_record, stated_hashes
from dolg_zoo.errors import PresetError
from dolg_zoo.models import DOLGConfig
from dolg_zoo.preprocessing import ImageConverter
from dolg_zoo.weights.manifest import CONFIG, MARGIN_HEAD, METADATA, PREPROCESSOR, WEIGHTS

REPORT = "report.json"  # written by the conversion tools
FORMAT_VERSION = 1


def preset_folder(folder: str | Path) -> Path:
    """Return a preset folder; for the folder of a training run, the preset folder in it."""
    folder = user_path(folder)
    trained = folder / TRAINED
    return trained if not (folder / CONFIG).exists() and (trained / CONFIG).exists() else folder


def check_preset(folder: Path) -> dict[str, str]:
    """Return a preset's sha256 by file name; raise PresetError if a file differs from it."""
    names = (CONFIG, PREPROCESSOR, WEIGHTS, MARGIN_HEAD)
    return check_hashes(folder, read_json(folder / METADATA), names)


def has_margin_head(folder: Path) -> bool:
    """Return whether a preset states that it has a margin head."""
    return "margin_head" in read_json(folder / CONFIG)


def check_hashes(
    folder: Path,
    metadata: Mapping[str, Any],
    names: tuple[str, ...],
    known: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, str]:
    """Return the sha256 that the metadata states; raise PresetError if a file differs from it."""
    # `known`: file name to a sha256 that has just been computed.
    try:
        hashes = stated_hashes(metadata)
    except ValueError as error:
        raise PresetError(f"{folder / METADATA}: {error}.") from error
    hashes = {name: hashes[name] for name in names if name in hashes}
    for name, expected in hashes.items():
        if known.get(name) != expected and (fault := fault_in(folder / name, expected)):
            raise PresetError(
                f"{folder / name} is not the file that {METADATA} describes ({fault}). The preset"
                " was saved only in part, or changed later. If you changed it yourself, remove"
                f' "sha256" from {METADATA}.'
            )
    return hashes


def read_json(path: Path, *versions: int) -> dict[str, Any]:
    """Read a JSON object; raise PresetError if it is invalid or has none of the versions given."""
    if not path.is_file():  # a pipe would hang, a device has no end
        raise PresetError(
            f"{path.parent} is no preset: it has no {path.name}. A preset is a folder that"
            " save_to_preset has written."
        )
    try:
        return read_record(path, *versions) if versions else read_json_object(path)
    except ValueError as error:
        raise PresetError(str(error)) from error


@dataclass(frozen=True)
class PresetDescription:
    """The content of a preset's JSON files."""

    config: DOLGConfig
    backbone: dict[str, Any] | None  # the graph of a custom backbone
    image_converter: ImageConverter
    metadata: Mapping[str, Any]


def read_description(folder: Path) -> PresetDescription:
    """Read the JSON files of a preset folder; PresetError names the invalid file."""
    config = read_json(folder / CONFIG, FORMAT_VERSION)
    converter, metadata = read_json(folder / PREPROCESSOR), read_json(folder / METADATA)
    check_hashes(folder, metadata, (CONFIG, PREPROCESSOR))
    try:
        dolg = _dolg_config(config)
    except (TypeError, ValueError) as error:
        raise PresetError(f"{folder / CONFIG}: {error}") from error
    try:
        image_converter = ImageConverter.from_config(converter)
    except (ValueError, TypeError) as error:
        raise PresetError(f"{folder / PREPROCESSOR}: {error}") from error
    backbone = config["backbone"] if dolg.backbone is None else None
    return PresetDescription(dolg, backbone, image_converter, metadata)


def _dolg_config(config: Mapping[str, Any]) -> DOLGConfig:
    unknown = set(config) - {"dolg", "backbone", "margin_head"}
    if unknown:
        raise ValueError(f"unknown keys {sorted(unknown)}")
    if not isinstance(config.get("dolg"), dict):
        raise ValueError(f"'dolg' must be an object, got {config.get('dolg')!r}")
    dolg = DOLGConfig.from_dict(config["dolg"])
    if dolg.backbone is None and not isinstance(config.get("backbone"), dict):
        raise ValueError(
            "'backbone' must be an object if 'dolg' names no backbone, got"
            f" {config.get('backbone')!r}"
        )
    return dolg

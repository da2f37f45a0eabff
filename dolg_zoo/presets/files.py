"""The files of a preset folder, and whether they are those that belong together; needs no Keras."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dolg_zoo._util.hashing import fault_in
from dolg_zoo._util.json_files import read_json_object
from dolg_zoo.errors import PresetError
from dolg_zoo.weights.manifest import MARGIN_HEAD, PRESET_FILES
from dolg_zoo.weights.verification import stated_hashes

CONFIG, PREPROCESSOR, METADATA, WEIGHTS = PRESET_FILES
REPORT = "report.json"  # of the conversion tools


def whole_preset(folder: Path) -> Path:
    """The folder, if its files are those that its metadata.json was written for.

    Raises:
        PresetError: if one is missing or another; names the file.
    """
    names = (CONFIG, PREPROCESSOR, WEIGHTS, MARGIN_HEAD)
    check_hashes(folder, read_json(folder / METADATA), names)
    return folder


def has_margin_head(folder: Path) -> bool:
    """Whether a preset says that it keeps the head it was trained under."""
    return "margin_head" in read_json(folder / CONFIG)


def check_hashes(
    folder: Path,
    metadata: Mapping[str, Any],
    names: tuple[str, ...],
    known: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Raises PresetError if a file is not the one that the preset's metadata states."""
    try:
        hashes = stated_hashes(metadata)
    except ValueError as error:
        raise PresetError(f"{folder / METADATA}: {error}.") from error
    for name in names:
        if name not in hashes or known.get(name) == hashes[name]:
            continue
        if fault := fault_in(folder / name, hashes[name]):
            raise PresetError(
                f"{folder / name} is not the file that {METADATA} was written for ({fault}). The"
                f" preset was saved only in part or changed since; if you changed it yourself,"
                f' remove "sha256" from {METADATA}.'
            )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a preset.

    Raises:
        PresetError: if the file is missing, none, too large or holds something else.
    """
    if not path.is_file():  # a pipe would hang, a device never end
        raise PresetError(
            f"{path.parent} is no preset: it has no {path.name}. A preset is a folder that"
            " save_to_preset has written."
        )
    try:
        return read_json_object(path)
    except ValueError as error:
        raise PresetError(str(error)) from error

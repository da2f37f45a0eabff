"""The record of facts in the metadata of an exported file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dolg_zoo.runtimes.registry import RUNTIMES

SAVED_MODEL = "savedmodel"
IN_SAVED_MODEL = Path("assets.extra") / "dolg.json"
"""TensorFlow's folder for files beside a SavedModel's graph."""

SAVED_MODEL_FILES = {"saved_model.pb", "fingerprint.pb", "variables", "assets", "assets.extra"}


def has_text(format: str) -> bool:
    """Return whether a format's files can hold a text; else a JSON file holds it."""
    return hasattr(RUNTIMES[format].code, "write_text")


def write_record(folder: Path, format: str, record: dict[str, Any]) -> None:
    """Write a record into, or beside, the files of a format in a folder."""
    text = json.dumps(record, indent=1)
    if format == SAVED_MODEL:
        (folder / IN_SAVED_MODEL).parent.mkdir(exist_ok=True)
        (folder / IN_SAVED_MODEL).write_text(text + "\n", encoding="utf-8")
    elif has_text(format):
        RUNTIMES[format].code.write_text(folder, text)
    else:
        (folder / "model.json").write_text(text + "\n", encoding="utf-8")


def read_record(path: Path, format: str) -> dict[str, Any]:
    """Return the record of an export; raise ValueError if it has none."""
    if format == SAVED_MODEL:
        text = (path / IN_SAVED_MODEL).read_text(encoding="utf-8")
    elif has_text(format):
        text = RUNTIMES[format].code.read_text(path)
    else:
        text = path.with_suffix(".json").read_text(encoding="utf-8")
    record = json.loads(text)
    if not isinstance(record, dict) or "image_converter" not in record:
        raise ValueError("it is not a record of an export")
    return record


def is_ours(path: Path, format: str) -> bool:
    """Return whether the path is an export of a format, alone in its folder; may raise."""
    read_record(path, format)
    return format != SAVED_MODEL or {each.name for each in path.iterdir()} <= SAVED_MODEL_FILES

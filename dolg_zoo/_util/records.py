"""JSON records beside the files that they describe, checked as foreign input."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dolg_zoo._util.files import replacing
from dolg_zoo._util.hashing import is_sha256, sha256_of
from dolg_zoo._util.json_files import read_json_object


def write_record(path: Path, values: Mapping[str, Any]) -> None:
    """Replace a record; after an OSError the old one remains."""
    with replacing(path) as file:
        file.write(json.dumps(values, indent=1, allow_nan=False).encode())


def read_record(path: Path, *versions: int) -> dict[str, Any]:
    """Return a record of one of these format versions, or raise ValueError with the file's name."""
    return checked_version(read_json_object(path), path, *versions)


def checked_version(values: dict[str, Any], name: object, *versions: int) -> dict[str, Any]:
    """Return the values without their `format_version`, or raise ValueError for another one."""
    version = values.pop("format_version", None)
    if version not in versions:
        raise ValueError(
            f"{name} has the format_version {version!r}, but this dolg-zoo reads"
            f" {' and '.join(map(str, versions))}; a newer dolg-zoo may read it."
        )
    return values


def keep_record(path: Path | None, values: Mapping[str, Any]) -> None:
    """Write a record into the cache if possible, to make the next process faster."""
    if path is not None:
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_record(path, values)


def kept_record(path: Path | None) -> dict[str, Any]:
    """Return a record from the cache; empty if none is readable."""
    with suppress(OSError, ValueError):
        return {} if path is None else read_json_object(path)
    return {}


def hashes_of(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the sha256 of files of a folder, by name."""
    return {name: sha256_of(folder / name) for name in names}


def stated_hashes(record: Mapping[str, Any]) -> dict[str, str]:
    """Return the sha256 of files by name from a record, or raise ValueError."""
    stated = record.get("sha256", {})
    if not isinstance(stated, dict) or not all(map(is_sha256, stated.values())):
        raise ValueError(f"sha256 must have 64 hexadecimal digits per file, got {stated!r}")
    return stated

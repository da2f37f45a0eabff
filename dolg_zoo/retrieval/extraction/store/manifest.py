"""`store.json`, which names the parts of a store. No line of it is trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from dolg_zoo._util.hashing import is_sha256
from dolg_zoo._util.own_folders import PART_NAME, STORE
from dolg_zoo._util.records import read_record, write_record
from dolg_zoo.errors import StoreError
from dolg_zoo.retrieval.extraction.store.settings import Settings

(MANIFEST,) = STORE.signs
FORMAT_VERSION = 2
READABLE = (1, FORMAT_VERSION)


@dataclass(frozen=True)
class Part:
    """A file of a store: its name, rows, size and sha256, and perhaps the folder of its images."""

    file: str
    rows: int
    bytes: int
    sha256: str
    images: str | None = None


def next_name(parts: Sequence[Part]) -> str:
    """Return a name that no part has."""
    matches = (PART_NAME.fullmatch(part.file) for part in parts)
    numbers = [int(match[1]) for match in matches if match]
    return f"part-{max(numbers, default=-1) + 1:06d}.parquet"


def write_manifest(folder: Path, settings: Settings, parts: Sequence[Part]) -> None:
    """Replace `store.json`; after an OSError the old one stays."""
    document = {
        "format_version": FORMAT_VERSION,
        **asdict(settings),
        "parts": [
            {key: value for key, value in asdict(part).items() if value is not None}
            for part in parts
        ],
    }
    write_record(folder / MANIFEST, document)


def read_manifest(folder: Path) -> tuple[Settings, list[Part]]:
    """Read `store.json`; a StoreError says why it is not valid."""
    path = folder / MANIFEST
    try:
        document = read_record(path, *READABLE)
        listed = document.pop("parts", None)
        if not isinstance(listed, list):
            raise ValueError(f"parts must be a list, not {str(listed)[:80]!r}")
        if isinstance(document.get("scales"), list):
            document["scales"] = tuple(document["scales"])
        settings = Settings(**document)
        parts = [_checked(entry, settings) for entry in listed]
        if len({part.file for part in parts}) < len(parts):
            raise ValueError("a part is named twice")
    except (ValueError, TypeError) as error:
        raise StoreError(f"{str(path)!r} is no description of a store: {error}.") from error
    return settings, parts


def _checked(entry: object, settings: Settings) -> Part:
    part = Part(**entry) if isinstance(entry, dict) else None
    if (
        part is None
        or not (isinstance(part.file, str) and PART_NAME.fullmatch(part.file))
        or type(part.rows) is not int
        or type(part.bytes) is not int
        or not is_sha256(part.sha256)
        or not isinstance(part.images, str | None)
        # a part is not compressed, so no small file can promise to fill the memory
        or not 0 < part.rows * settings.dim * np.dtype(settings.dtype).itemsize < part.bytes
    ):
        raise ValueError(f"{str(entry)[:200]} describes no part")
    return part

"""Find a preset's cached files on this machine without Keras, network or hashing."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from dolg_zoo._util.cache_folder import cache_folder
from dolg_zoo.weights.hub.request import cached_path
from dolg_zoo.weights.manifest import METADATA, PRESET_FILES, CheckpointEntry, PresetEntry

EMBEDDED = Path(__file__).parents[1] / "presets" / "embedded"
"""The folder of the presets that ship with the package."""

# Increase it when the conversion of a checkpoint gives another preset than before.
CONVERSION = 1

UNKEPT: dict[str, Path] = {}
"""Checkpoint's sha256 to a conversion in a temporary folder, removed at the end of the process."""


def conversion_folder(entry: CheckpointEntry) -> Path | None:
    """Return the folder for a converted checkpoint, by its sha256; None without a cache folder."""
    return cache_folder("converted", f"{entry.file.sha256}-{CONVERSION}")


def kept_conversion(entry: CheckpointEntry) -> Path | None:
    """Return the preset folder that a checkpoint was converted to before, if it is still there."""
    for folder in (UNKEPT.get(entry.file.sha256), conversion_folder(entry)):
        if _is_preset(folder):
            return folder
    return None


def state_of(entry: PresetEntry | CheckpointEntry) -> str:
    """Return "in the package", "converted", "cached" or "not cached"; nothing is verified."""
    source = entry.source
    if source is None:
        return "in the package"
    if isinstance(entry, CheckpointEntry):
        if _is_preset(conversion_folder(entry)):
            return "converted"
        names = [entry.file.path]
    else:
        names = list(PRESET_FILES)  # the margin head is fetched when it is asked for
    with suppress(OSError):  # a cache that cannot be read is as good as none
        if all(cached_path(source.repo, source.revision, name) for name in names):
            return "cached"
    return "not cached"


def _is_preset(folder: Path | None) -> bool:
    # Path.is_file raises where it may not look
    return folder is not None and os.path.isfile(folder / METADATA)  # noqa: PTH113

"""Converted checkpoints in the cache, found by the sha256 of the checkpoint."""

from __future__ import annotations

import os
from pathlib import Path

from dolg_zoo._util.cache_folder import cache_folder
from dolg_zoo.weights.manifest import METADATA, CheckpointEntry

# Increase it when the conversion of a checkpoint gives another preset than before.
CONVERSION = 1

TEMPORARY: dict[str, Path] = {}
"""Checkpoint's sha256 to a conversion in a temporary folder, removed at the end of the process."""


def conversion_folder(entry: CheckpointEntry) -> Path | None:
    """Return the folder for a converted checkpoint, by its sha256; None without a cache folder."""
    return cache_folder("converted", f"{entry.file.sha256}-{CONVERSION}")


def cached_conversion(entry: CheckpointEntry) -> Path | None:
    """Return the preset folder that a checkpoint was converted to before, if it still exists."""
    for folder in (TEMPORARY.get(entry.file.sha256), conversion_folder(entry)):
        # Path.is_file raises for a folder that may not be read
        if folder is not None and os.path.isfile(folder / METADATA):  # noqa: PTH113
            return folder
    return None

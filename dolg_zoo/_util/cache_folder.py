"""The cache folder of this project, for files that it can make again."""

from __future__ import annotations

import os
from pathlib import Path

from dolg_zoo._util.files import expanded


def cache_folder() -> Path | None:
    """Return `$DOLG_ZOO_CACHE`, `$XDG_CACHE_HOME/dolg-zoo` or `~/.cache/dolg-zoo`, or None."""
    if own := os.environ.get("DOLG_ZOO_CACHE"):
        return expanded(own)
    everyones = expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return None if str(everyones).startswith("~") else everyones / "dolg-zoo"

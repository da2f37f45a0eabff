"""Where this project keeps what it can make again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path | None:
    """`$DOLG_ZOO_CACHE`, else `$XDG_CACHE_HOME/dolg-zoo`, else `~/.cache/dolg-zoo`.

    None where none of them is known.
    """
    if own := os.environ.get("DOLG_ZOO_CACHE"):
        return Path(own)
    everyones = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    return None if everyones.startswith("~") else Path(everyones) / "dolg-zoo"

"""Where this project keeps what it can make again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path | None:
    """`$DOLG_ZOO_CACHE`, else `$XDG_CACHE_HOME/dolg-zoo`, else `~/.cache/dolg-zoo`.

    None where none of them is known.
    """
    if own := os.environ.get("DOLG_ZOO_CACHE"):
        return _expanded(own)
    everyones = _expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return None if str(everyones).startswith("~") else everyones / "dolg-zoo"


def _expanded(path: str) -> Path:
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser fails without a home

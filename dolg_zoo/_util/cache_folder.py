"""The cache folder of this project."""

from __future__ import annotations

import os
from pathlib import Path

from dolg_zoo._util.files import expanded


def cache_folder(*parts: str) -> Path | None:
    """Return a path in `$DOLG_ZOO_CACHE`, `$XDG_CACHE_HOME/dolg-zoo` or `~/.cache/dolg-zoo`.

    None if there is no home folder.
    """
    if own := os.environ.get("DOLG_ZOO_CACHE"):
        return expanded(own).joinpath(*parts)
    everyones = expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return None if str(everyones).startswith("~") else everyones.joinpath("dolg-zoo", *parts)

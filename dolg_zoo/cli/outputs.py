"""How a command names what it writes."""

from __future__ import annotations

from pathlib import Path


def shown(path: Path | str) -> str:
    """Return a path as it can be printed."""
    from dolg_zoo._util.text import printable

    return printable(str(path))

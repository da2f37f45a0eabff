"""Keep standard output free for a command whose output file is a pipe."""

from __future__ import annotations

import sys
from pathlib import Path


def leave_stdout_to(path: Path | None) -> None:
    """Print to standard error from now on if the output is a pipe, which is most likely stdout."""
    from dolg_zoo._util.files import is_special

    if path is not None and is_special(path):
        sys.stdout = sys.stderr


def shown(path: Path | str) -> str:
    """Return a path as it can be printed."""
    from dolg_zoo._util.text import printable

    return printable(str(path))

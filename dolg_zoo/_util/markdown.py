"""Escape texts of strangers for Markdown."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

# special anywhere in a line; an underscore is not special within a word
_INLINE = re.compile(r"[\\`*\[\]~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
# special at the beginning of a line: headings, rules, lists
_START_OF_LINE = re.compile(r"^(\d*)(?=[#+\-=:.)])")


def inline(text: object) -> str:
    """Return a text on one line, for a sentence or the cell of a table."""
    line = html.escape(" ".join(str(text).split()), quote=False)
    # an entity, since some readers split a table's row before they handle backslashes
    return _INLINE.sub(r"\\\g<0>", line).replace("|", "&#124;")


def prose(text: str) -> str:
    """Return a text in which each line is a paragraph."""
    lines = [inline(line) for line in text.splitlines()]
    return "\n\n".join(_START_OF_LINE.sub(r"\1\\", line) for line in lines if line)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; its cells are Markdown already."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def code(text: str) -> str:
    """Return a text without backticks and pipes, such as the name of one of our files, as code."""
    return f"`{text}`"

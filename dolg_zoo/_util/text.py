"""File names as they can be shown."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Return the text on one line, harmless to a terminal.

    Line breaks, escape sequences, marks that turn the direction of writing, and bytes that are
    no text stand there as Python escapes them: `\\n`, `\\x1b`, `\\udcff`.
    """
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)

"""Printable file names, comparable labels, and figures for people."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from reprlib import Repr

_INVISIBLE = "\ufeff\u200b\u2060 "
"""Marks without width that spreadsheets and web pages leave at the ends of a text."""


_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80


def printable(text: str) -> str:
    """Return the text on one line; escape line breaks, control sequences and undecodable bytes."""
    # also escape marks that change the direction of writing
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def plain_label(text: str) -> str:
    """Normalise a label, so that labels that look the same are equal."""
    # Outer blanks are removed, inner blanks become one space, and letters get Unicode's composed
    # form (NFC), which macOS does not use in file names.
    return unicodedata.normalize("NFC", " ".join(text.split()).strip(_INVISIBLE))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a sentence that names the most similar of the known names, or an empty text."""
    import difflib  # late, since only errors need it

    near = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def short_repr(value: object) -> str:
    """Return `repr` of a value for a message, shortened to about 80 characters."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # Python refuses numbers with thousands of digits
        return f"a very long {type(value).__name__}"


def percent(share: float, digits: int = 2) -> str:
    """Return a score from 0 to 1 in per cent: `93.99 %`."""
    return f"{100 * share:.{digits}f} %"


def figure_in_percent(value: float, metric: str) -> tuple[str, str]:
    """Return a published figure, a score in per cent, and its metric."""
    if metric.endswith("%"):
        return f"{value:.2f} %", metric.rstrip(" %")
    if 0 <= value <= 1 and any(name in metric for name in ("AP", "recall", "accuracy")):
        return percent(value), metric
    return f"{value:g}", metric

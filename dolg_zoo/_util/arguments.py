"""Checks of arguments and of the fields of a dataclass, which state theirs.

Most return the value, or raise ValueError with its name and range.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import MISSING, field, fields
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np

from dolg_zoo._util.text import short_repr


def whole_number(name: str, value: object, least: int, most: int | None = None) -> int:
    """Return an integer of Python or NumPy, but no bool, from `least` to `most`."""
    if isinstance(value, Integral) and not isinstance(value, bool):
        found = int(value)
        if least <= found and (most is None or found <= most):
            return found
    wanted = f"of at least {least}" if most is None else f"from {least} to {most}"
    raise ValueError(f"{name} must be a whole number {wanted}, got {short_repr(value)}.")


def number(
    name: str, value: object, least: float, most: float = math.inf, *, open_ends: bool = False
) -> float:
    """Return a finite Python or NumPy number (no bool) from `least` to `most`."""
    # with `open_ends` the value must differ from both
    found = finite(value)
    if found is None or not least <= found <= most or (open_ends and found in (least, most)):
        if most == math.inf:
            wanted = f"greater than {least:g}" if open_ends else f"of at least {least:g}"
        else:
            wanted = f"from {least:g} to {most:g}" + (", both excluded" if open_ends else "")
        raise ValueError(f"{name} must be a number {wanted}, got {short_repr(value)}.")
    return found


def finite(value: object) -> float | None:
    """Return a finite number, but no bool, as a float; None for anything else."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return None
    try:
        found = float(value)
    except OverflowError:  # an integer beyond the largest float
        return None
    return found if math.isfinite(found) else None


def one_of(name: str, value: object, known: Iterable[str]) -> str:
    """Return the value if it is one of some names; raise ValueError otherwise."""
    known = tuple(known)
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {short_repr(value)}.")
    return value


def text(name: str, value: object, most: int) -> str:
    """Return a text of one character or more, and at most so many."""
    if not isinstance(value, str) or not 0 < len(value) <= most:
        raise ValueError(f"{name} must be text of 1 to {most} characters, got {short_repr(value)}.")
    return value


def true_or_false(name: str, value: object) -> bool:
    """Return a bool; raise ValueError for anything else."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, got {short_repr(value)}.")
    return value


def stated(check: Callable[..., Any], *, default: Any = MISSING, **bounds: Any) -> Any:
    """Return a field of a dataclass that `check_fields` gives to a check, with its bounds."""
    return field(default=default, metadata={"check": partial(check, **bounds)})


def check_fields(record: Any, prefix: str = "") -> None:
    """Replace each field by what its check returns of it; None, where it is the default, stays."""
    for each in fields(record):
        value = getattr(record, each.name)
        if "check" in each.metadata and not (value is None and each.default is None):
            checked = each.metadata["check"](prefix + each.name, value)
            object.__setattr__(record, each.name, checked)


def label_array(labels: Any) -> np.ndarray:
    """Return labels as an array; replace the type object by the type of the values."""
    labels = np.asarray(labels)
    return np.array(labels.tolist()) if labels.dtype == object else labels

"""Checks of arguments, and of dataclass fields that declare their check.

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
    """Return a Python or NumPy integer (no bool) from `least` to `most`."""
    if isinstance(value, Integral) and not isinstance(value, bool):
        integer = int(value)
        if least <= integer and (most is None or integer <= most):
            return integer
    limits = f"of at least {least}" if most is None else f"from {least} to {most}"
    raise ValueError(f"{name} must be a whole number {limits}, got {short_repr(value)}.")


def number(
    name: str, value: object, least: float, most: float = math.inf, *, open_ends: bool = False
) -> float:
    """Return a finite Python or NumPy number (no bool) from `least` to `most`."""
    # with `open_ends`, both limits are excluded
    checked = finite(value)
    if checked is None or not least <= checked <= most or (open_ends and checked in (least, most)):
        if most == math.inf:
            limits = f"greater than {least:g}" if open_ends else f"of at least {least:g}"
        else:
            limits = f"from {least:g} to {most:g}" + (", both excluded" if open_ends else "")
        raise ValueError(f"{name} must be a number {limits}, got {short_repr(value)}.")
    return checked


def finite(value: object) -> float | None:
    """Return a finite number (no bool) as a float; None for anything else."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return None
    try:
        converted = float(value)
    except OverflowError:  # an integer beyond the largest float
        return None
    return converted if math.isfinite(converted) else None


def one_of(name: str, value: object, known: Iterable[str]) -> str:
    """Return the value if it is one of some names; raise ValueError otherwise."""
    known = tuple(known)
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {short_repr(value)}.")
    return value


def text(name: str, value: object, most: int) -> str:
    """Return a text of 1 to `most` characters."""
    if not isinstance(value, str) or not 0 < len(value) <= most:
        raise ValueError(f"{name} must be text of 1 to {most} characters, got {short_repr(value)}.")
    return value


def true_or_false(name: str, value: object) -> bool:
    """Return a bool; raise ValueError for anything else."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, got {short_repr(value)}.")
    return value


def stated(check: Callable[..., Any], *, default: Any = MISSING, **bounds: Any) -> Any:
    """Return a dataclass field with its check, and the check's bounds, for `check_fields`."""
    return field(default=default, metadata={"check": partial(check, **bounds)})


def check_fields(record: Any, prefix: str = "") -> None:
    """Replace each field by the result of its check; do not check a None that is the default."""
    for each in fields(record):
        value = getattr(record, each.name)
        if "check" in each.metadata and not (value is None and each.default is None):
            checked = each.metadata["check"](prefix + each.name, value)
            object.__setattr__(record, each.name, checked)


def label_array(labels: Any) -> np.ndarray:
    """Return labels as an array; replace the dtype object by the dtype of the values."""
    labels = np.asarray(labels)
    return np.array(labels.tolist()) if labels.dtype == object else labels

"""Scales: the multiples of an image's size at which it is embedded."""

from __future__ import annotations

from collections.abc import Iterable

from dolg_zoo._util.arguments import finite

MAX_SCALE = 8.0
MAX_SCALES = 16


def checked_scales(scales: object) -> tuple[float, ...]:
    """Return at most `MAX_SCALES` scales, above 0, up to `MAX_SCALE`; raise ValueError if wrong."""
    values = [finite(scale) for scale in scales] if isinstance(scales, Iterable) else []
    checked = tuple(value for value in values if value is not None and 0 < value <= MAX_SCALE)
    if not 0 < len(values) <= MAX_SCALES or len(checked) < len(values):
        raise ValueError(
            f"scales must be one to {MAX_SCALES} numbers above 0 and up to {MAX_SCALE:g}, got"
            f" {str(scales)[:80]}."
        )
    return checked

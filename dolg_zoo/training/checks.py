"""What a number or a name in a training configuration must be."""

from __future__ import annotations

import math
from typing import Any

from dolg_zoo.errors import TrainingConfigError


def require_one_of(table: str, key: str, value: Any, known: tuple[str, ...]) -> None:
    """The value must be one of those known."""
    if value not in known:
        raise TrainingConfigError(
            f"[{table}] {key} must be one of {', '.join(known)}, got {value!r}."
        )


def require_between(
    table: str, key: str, value: float, least: float, most: float, *, open_ends: bool = False
) -> None:
    """The value must be a finite number between the two, which are themselves in unless open."""
    holds = least < value < most if open_ends else least <= value <= most
    if not (holds and math.isfinite(value)):
        raise TrainingConfigError(
            f"[{table}] {key} must be a finite number from {least} to {most}"
            f"{', both excluded' if open_ends else ''}, got {value!r}."
        )


def require_at_least(table: str, key: str, value: int, least: int) -> None:
    """The value must not be less."""
    if value < least:
        raise TrainingConfigError(f"[{table}] {key} must be {least} or more, got {value!r}.")

"""Descriptors of norm 1: normalisation and checks."""

from __future__ import annotations

import numpy as np

_ROWS = 65536


def unit(descriptors: np.ndarray, dim: int) -> np.ndarray:
    """Return descriptors (any, dim) with norm 1, float32; raise ValueError if one is invalid."""
    descriptors = np.asarray(descriptors, np.float64)
    if descriptors.ndim != 2 or descriptors.shape[1] != dim:
        raise ValueError(
            f"The descriptors must have shape (queries, {dim}), not {descriptors.shape}."
        )
    largest = np.abs(descriptors).max(axis=1, keepdims=True)
    if not np.isfinite(largest).all() or not largest.all():
        raise ValueError(
            "The descriptors must be finite and not zero; check the model or the file that they"
            " come from."
        )
    descriptors = descriptors / largest  # else the squares of very large values overflow
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    return descriptors.astype(np.float32)


def first_not_unit(descriptors: np.ndarray) -> int | None:
    """Return the first row that is not finite or does not have norm 1, or None."""
    # The tolerance fits float16. Blocks, since a memory-mapped file may be larger than memory.
    for start in range(0, len(descriptors), _ROWS):
        rows = descriptors[start : start + _ROWS]
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.einsum("ij,ij->i", rows, rows)
        good = np.abs(squares - 1) <= 2e-3  # False for a NaN
        if not good.all():
            return start + int(np.argmin(good))
    return None

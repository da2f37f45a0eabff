"""Sums of neighbours' descriptors, weighted by how alike they are."""

from __future__ import annotations

from typing import Protocol

import numpy as np

# of neighbours' descriptors held at a time: 64 MiB
MAX_VALUES = 2**24


class Search(Protocol):
    """What finds neighbours: exact or approximate, in memory or not."""

    def __call__(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return cosines and gallery rows, both (queries, k or fewer), best first; row -1: none."""


def added(
    rows: np.ndarray, scores: np.ndarray, indices: np.ndarray, gallery: np.ndarray, alpha: float
) -> np.ndarray:
    """Return unit rows (rows, dim): rows plus neighbours with the weight max(0, score)^alpha."""
    # `scores` and `indices` are (rows, n), index -1 for none. A row that would be zero stays as it
    # is.
    rows = np.asarray(rows, np.float32)
    weights = np.maximum(scores, 0, dtype=np.float32) ** np.float32(alpha)
    weights[indices < 0] = 0
    sums = rows.copy()
    step = max(1, MAX_VALUES // max(1, indices.shape[1] * rows.shape[1]))
    for start in range(0, len(rows), step):
        chunk = slice(start, start + step)
        neighbours = np.asarray(gallery[np.maximum(indices[chunk], 0)], np.float32)
        sums[chunk] += np.einsum("qn,qnd->qd", weights[chunk], neighbours)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    # what rounding leaves of vectors that cancel out has no direction
    return np.where(lengths > 1e-6, sums / np.maximum(lengths, 1e-6), rows)

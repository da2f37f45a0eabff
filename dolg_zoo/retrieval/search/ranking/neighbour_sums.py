"""Sums of neighbours' descriptors, weighted by how alike they are."""

from __future__ import annotations

from typing import Protocol

import numpy as np

# of neighbours' descriptors held at a time: 64 MiB
MAX_VALUES = 2**24


class Search(Protocol):
    """What finds neighbours: exact or approximate, in memory or not."""

    def __call__(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the neighbours of each query, best first.

        Args:
            queries: (queries, dim), float32, unit rows.
            k: the number of results for each query; there may be fewer.

        Returns:
            (scores, indices), each (queries, k or fewer): cosines, and rows of the gallery; an
            index of -1 where there is none.
        """


def added(
    rows: np.ndarray, scores: np.ndarray, indices: np.ndarray, gallery: np.ndarray, alpha: float
) -> np.ndarray:
    """Each row plus its neighbours, these with the weight max(0, score)^alpha; unit rows.

    A row that would become zero stays as it is.

    Args:
        rows: (rows, dim).
        scores: (rows, n), cosines of the neighbours.
        indices: (rows, n), where in the gallery they are; -1 for none.
        gallery: (images, dim), an array or a memory map.
        alpha: 0 for the plain mean.
    """
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

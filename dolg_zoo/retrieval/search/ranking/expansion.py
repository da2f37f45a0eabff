"""Add to each descriptor the descriptors of its neighbours, weighted by similarity."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from dolg_zoo._util.progress import track

ROWS = 4096  # images per search for neighbours
MAX_VALUES = 2**24  # values of neighbours' descriptors in memory at a time: 64 MiB


class Search(Protocol):
    """A function that finds neighbours, exactly or approximately."""

    def __call__(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return cosines and gallery rows, both (queries, k or fewer), best first; row -1: none."""


def expand_queries(
    queries: np.ndarray, search: Search, gallery: np.ndarray, n: int = 5, alpha: float = 3.0
) -> np.ndarray:
    """Return each query plus its n nearest images: α-weighted query expansion, unit rows."""
    # A neighbour's weight is max(0, cosine)^α, the query's own is 1. Source: Radenović, Tolias and
    # Chum, "Fine-tuning CNN Image Retrieval with No Human Annotation" (2018, arXiv 1711.02512).
    # `search` is called once, with all queries in order.
    if len(queries) == 0:
        return np.asarray(queries, np.float32)
    scores, indices = search(queries, min(n, len(gallery)))
    return _added(queries, scores, indices, gallery, alpha)


def augment_database(
    gallery: np.ndarray, search: Search, n: int = 5, alpha: float = 3.0
) -> np.ndarray:
    """Return each image plus its n nearest others: database-side augmentation, unit rows."""
    # Sources: Arandjelović and Zisserman, "Three things everyone should know to improve object
    # retrieval" (CVPR 2012); Gordo et al., "End-to-end Learning of Deep Visual Representations for
    # Image Retrieval" (2017, arXiv 1610.07940). `search` may return the image itself or not.
    augmented = np.empty(gallery.shape, np.float32)
    starts = range(0, len(gallery), ROWS)
    for start in track(starts, len(starts), "Augmenting"):
        rows = np.asarray(gallery[start : start + ROWS], np.float32)
        scores, indices = without_self(*search(rows, min(n + 1, len(gallery))), start)
        block = np.s_[start : start + ROWS]
        augmented[block] = _added(rows, scores[:, :n], indices[:, :n], gallery, alpha)
    return augmented


def without_self(
    scores: np.ndarray, indices: np.ndarray, start: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Move each row itself to the end of its neighbours, with the index -1; rows from `start`."""
    is_self = indices == np.arange(start, start + len(indices))[:, None]
    # Compare indices: an equal image may come before the row itself.
    order = np.argsort(is_self, axis=1, kind="stable")
    scores, indices = (np.take_along_axis(array, order, axis=1) for array in (scores, indices))
    return scores, np.where(np.sort(is_self, axis=1), -1, indices)


def _added(
    rows: np.ndarray, scores: np.ndarray, indices: np.ndarray, gallery: np.ndarray, alpha: float
) -> np.ndarray:
    """Return rows plus neighbours as unit rows (rows, dim); indices (rows, n), -1 for none."""
    rows = np.asarray(rows, np.float32)
    weights = np.maximum(scores, 0, dtype=np.float32) ** np.float32(alpha)
    weights[indices < 0] = 0
    sums = rows.copy()
    step = max(1, MAX_VALUES // max(1, indices.shape[1] * rows.shape[1]))
    for start in range(0, len(rows), step):
        chunk = slice(start, start + step)
        neighbours = np.asarray(gallery[np.maximum(indices[chunk], 0)], np.float32)
        sums[chunk] += np.einsum("qn,qnd->qd", weights[chunk], neighbours)
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    # If the vectors cancel out, the sum is rounding noise, so the row stays unchanged.
    return np.where(norms > 1e-6, sums / np.maximum(norms, 1e-6), rows)

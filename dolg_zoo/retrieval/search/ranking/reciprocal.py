"""Re-rank the first results by the neighbours that they share with the query."""

from __future__ import annotations

import numpy as np


def rerank(
    queries: np.ndarray,
    scores: np.ndarray,
    indices: np.ndarray,
    gallery: np.ndarray,
    k1: int = 20,
    k2: int = 6,
    weight: float = 0.3,
) -> tuple[np.ndarray, np.ndarray]:
    """Return (scores, indices) after k-reciprocal re-ranking among these results alone."""
    # Two images are k-reciprocal if each is among the k nearest images of the other. The new
    # distance is the Jaccard distance between the two images' sets of such neighbours (averaged
    # over `k2` neighbours), plus the old distance times `weight`. Source: Zhong et al., "Re-ranking
    # Person Re-identification with k-reciprocal Encoding" (CVPR 2017, arXiv 1701.08398), which
    # takes neighbours from the whole gallery. The index -1 (none) stays last; scores stay cosines.
    scores, indices = np.array(scores), np.array(indices)
    for query, rows, score in zip(queries, indices, scores, strict=True):
        count = int((rows >= 0).sum())
        nodes = np.concatenate([query[None], gallery[rows[:count]]]).astype(np.float32)
        distances = _distances(nodes, min(k1, count), min(k2, count + 1), weight)
        order = np.argsort(distances, kind="stable")  # equal distances keep their order
        rows[:count], score[:count] = rows[order], score[order]
    return scores, indices


def _distances(nodes: np.ndarray, k1: int, k2: int, weight: float) -> np.ndarray:
    """Return distances from the first node to each other node: (nodes - 1,)."""
    original = np.maximum(2 - 2 * nodes @ nodes.T, 0)
    original /= np.maximum(original.max(axis=1, keepdims=True), 1e-12)
    np.fill_diagonal(original, -1)  # each node comes first in its list, before equal nodes
    nearest = np.argsort(original, axis=1, kind="stable")
    np.fill_diagonal(original, 0)
    sets = _reciprocal(nearest, k1)
    halves = _reciprocal(nearest, round(k1 / 2))
    # Add a neighbour's set for k1 / 2 if two thirds of that set are members already.
    shared = sets.astype(np.float32) @ halves.T.astype(np.float32)
    joins = sets & (shared >= 2 / 3 * halves.sum(axis=1) - 1e-4)
    sets |= (joins.astype(np.float32) @ halves.astype(np.float32)) > 0
    encoded = np.exp(-original) * sets
    encoded /= encoded.sum(axis=1, keepdims=True)
    encoded = encoded[nearest[:, :k2]].mean(axis=1)
    common = np.minimum(encoded[0], encoded[1:]).sum(axis=1)
    jaccard = 1 - common / (2 - common)
    return (1 - weight) * jaccard + weight * original[0, 1:]


def _reciprocal(nearest: np.ndarray, k: int) -> np.ndarray:
    """Return (nodes, nodes) bool: whether each is among the other's k nearest nodes."""
    is_near = np.zeros(nearest.shape, bool)
    np.put_along_axis(is_near, nearest[:, : k + 1], True, axis=1)
    return is_near & is_near.T

"""The first results in a better order: by how many neighbours they share with the query."""

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
    # Two images are k-reciprocal if each is among the k nearest of the other. The new distance is
    # the Jaccard distance of the two's sets of such neighbours, averaged over `k2` neighbours, and
    # the old one with `weight`. Source: Zhong et al., "Re-ranking Person Re-identification with
    # k-reciprocal Encoding" (CVPR 2017, arXiv 1701.08398); there the neighbours are sought in the
    # whole gallery. Indices of -1, for none, stay last; scores are still the cosines.
    scores, indices = np.array(scores), np.array(indices)
    for query, found, score in zip(queries, indices, scores, strict=True):
        count = int((found >= 0).sum())
        nodes = np.concatenate([query[None], gallery[found[:count]]]).astype(np.float32)
        distances = _distances(nodes, min(k1, count), min(k2, count + 1), weight)
        order = np.argsort(distances, kind="stable")  # of equals, the better stays before
        found[:count], score[:count] = found[order], score[order]
    return scores, indices


def _distances(nodes: np.ndarray, k1: int, k2: int, weight: float) -> np.ndarray:
    """Return distances from the first node to each other node: (nodes - 1,)."""
    original = np.maximum(2 - 2 * nodes @ nodes.T, 0)
    original /= np.maximum(original.max(axis=1, keepdims=True), 1e-12)
    np.fill_diagonal(original, -1)  # each is its own nearest, before its equals
    nearest = np.argsort(original, axis=1, kind="stable")
    np.fill_diagonal(original, 0)
    sets = _reciprocal(nearest, k1)
    halves = _reciprocal(nearest, round(k1 / 2))
    # a neighbour's own narrower set joins where two thirds of it are in already
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
    """Return which nodes are among each other's k nearest others: (nodes, nodes), bool."""
    among = np.zeros(nearest.shape, bool)
    np.put_along_axis(among, nearest[:, : k + 1], True, axis=1)
    return among & among.T

"""Queries that have learned from their first results."""

from __future__ import annotations

import numpy as np

from dolg_zoo.retrieval.search.ranking.neighbour_sums import Search, added


def expand_queries(
    queries: np.ndarray, search: Search, gallery: np.ndarray, n: int = 5, alpha: float = 3.0
) -> np.ndarray:
    """α-weighted query expansion: each query plus its n nearest images.

    A neighbour's weight is max(0, cosine)^α, the query's own is 1. Source: Radenović, Tolias and
    Chum, "Fine-tuning CNN Image Retrieval with No Human Annotation" (2018, arXiv 1711.02512).

    Args:
        queries: (queries, dim), unit rows.
        search: called once, with all queries in their order.
        gallery: (images, dim), what `search` finds indices in: an array or a memory map.
        n: the number of neighbours; all of them if the gallery has fewer.
        alpha: exponent of the similarity as a weight, at least 0; 0 is the plain mean.

    Returns:
        (queries, dim), float32, unit rows.
    """
    if len(queries) == 0:
        return np.asarray(queries, np.float32)
    scores, indices = search(queries, min(n, len(gallery)))
    return added(queries, scores, indices, gallery, alpha)

"""Exact search with query expansion, augmentation and re-ranking."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from dolg_zoo.retrieval.extraction.collection import Collection
from dolg_zoo.retrieval.search.exact import Exact
from dolg_zoo.retrieval.search.ranking import Ranking, augment_database, expand_queries, ranked
from dolg_zoo.retrieval.search.ranking.expansion import Search, without_self


def exact_search(gallery: np.ndarray, leave_out_own: bool = False) -> Search:
    """Return a function that searches a float32 array (images, dim) by dot product."""
    # With `leave_out_own`, the queries must be all gallery images in order; none finds itself.
    exact = Exact(gallery)

    def search(queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        k = min(k, len(gallery) - leave_out_own)
        scores, indices = exact.search(np.asarray(queries, np.float32), k + leave_out_own)
        if leave_out_own:
            scores, indices = without_self(scores, indices)
        return scores[:, :k], indices[:, :k]

    return search


def improved(
    queries: np.ndarray, gallery: np.ndarray, ranking: Ranking, leave_one_out: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return expanded queries, the augmented gallery, and the re-ranked indices or None."""
    # Unit rows. The indices (queries, `ranking.rerank` or fewer) come before all others. With
    # `leave_one_out` the queries are all gallery images in order.
    gallery = _augmented(gallery, ranking)
    search = exact_search(gallery, leave_one_out)
    if ranking.expand:
        queries = expand_queries(queries, search, gallery, ranking.expand, ranking.alpha)
    first = None
    if ranking.rerank:
        expanded = replace(ranking, expand=0)
        _, first = ranked(queries, search, gallery, ranking.rerank, expanded)
    return queries, gallery, first


def _augmented(gallery: np.ndarray, ranking: Ranking) -> np.ndarray:
    if not ranking.dba:
        return gallery
    return augment_database(gallery, exact_search(gallery), ranking.dba, ranking.alpha)


def nearest(
    queries: np.ndarray, collection: Collection, k: int, ranking: Ranking
) -> tuple[np.ndarray, np.ndarray]:
    """Return the best k images: scores and indices (queries, k), best first; index -1 for none."""
    # A plain ranking needs memory for one part of the collection, any other for all parts.
    if ranking.is_plain:
        return _nearest_in_parts(queries, collection.parts(), k)
    gallery = _augmented(collection.read(), ranking)
    return ranked(queries, exact_search(gallery), gallery, k, ranking)


def _nearest_in_parts(
    queries: np.ndarray, parts: Iterable[np.ndarray], k: int
) -> tuple[np.ndarray, np.ndarray]:
    scores: np.ndarray = np.full((len(queries), k), -np.inf, np.float32)
    indices: np.ndarray = np.full((len(queries), k), -1, np.int64)
    start = 0
    for part in parts:
        if len(part):
            new_scores, new_indices = exact_search(part)(queries, k)
            scores = np.concatenate([scores, new_scores], axis=1)
            indices = np.concatenate([indices, new_indices + start], axis=1)
            # stable: equal scores keep the order of the parts
            order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            scores = np.take_along_axis(scores, order, 1)
            indices = np.take_along_axis(indices, order, 1)
        start += len(part)
    return scores, indices

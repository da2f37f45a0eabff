"""Ranks of the relevant images among a million, without sorting the million.

Average precision needs no other ranks. A rank is the number of images with a higher score, and
images can be counted in parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

# similarities in memory at a time
MAX_SIMILARITIES = 2**24


def ranks(
    queries: np.ndarray,
    gallery: np.ndarray,
    listed: Sequence[np.ndarray],
    distractors: Iterable[np.ndarray] = (),
    first: np.ndarray | None = None,
) -> list[np.ndarray]:
    """Return the ranks, from 0, of each query's listed gallery images in the whole gallery."""
    # The ranking is by decreasing dot product, and equal scores keep their order: the gallery, then
    # the distractors (parts, (rows, dim)). Norms are at most 1. `first` (queries, n): indices that
    # come before all others, in this order; -1 for none.
    result = [np.empty(len(indices), np.int64) for indices in listed]
    thresholds = [np.empty(len(indices), np.float32) for indices in listed]
    step = max(1, MAX_SIMILARITIES // max(1, len(gallery)))
    for start in range(0, len(queries), step):
        chunk = slice(start, start + step)
        scores = (gallery @ queries[chunk].T).T
        put_first(scores, None if first is None else first[chunk])
        for row, score in enumerate(scores, start):
            order = np.argsort(-score, kind="stable")
            rank_of = np.empty(len(order), np.int64)
            rank_of[order] = np.arange(len(order))
            result[row] = rank_of[listed[row]]
            thresholds[row] = score[listed[row]]
    begin = len(gallery)
    for part in _pieces(distractors, len(queries)):
        scores = np.ascontiguousarray((part @ queries.T).T)
        put_first(scores, first, begin)
        scores.sort(axis=1)
        for row, score in enumerate(scores):
            result[row] += len(part) - np.searchsorted(score, thresholds[row], side="right")
        begin += len(part)
    return result


def put_first(scores: np.ndarray, first: np.ndarray | None, begin: int = 0) -> None:
    """Give the re-ranked indices `first` (queries, n) scores above any cosine, in their order."""
    # `scores` (queries, rows) are changed in place; their first column is the index `begin`.
    if first is None:
        return
    indices = first - begin
    rows, ranks = np.nonzero((first >= 0) & (indices >= 0) & (indices < scores.shape[1]))
    scores[rows, indices[rows, ranks]] = 2 + first.shape[1] - ranks


def _pieces(parts: Iterable[np.ndarray], queries: int) -> Iterator[np.ndarray]:
    step = max(1, MAX_SIMILARITIES // max(1, queries))
    for part in parts:
        for start in range(0, len(part), step):
            yield part[start : start + step]

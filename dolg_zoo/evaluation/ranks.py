"""Ranks of some hundred images per query among a million, without sorting the million.

Average precision needs no other ranks. A rank is the number of images with a higher score, which
can be counted in parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

# similarities held at a time
MAX_SIMILARITIES = 2**24


def ranks(
    queries: np.ndarray,
    gallery: np.ndarray,
    wanted: Sequence[np.ndarray],
    distractors: Iterable[np.ndarray] = (),
    first: np.ndarray | None = None,
) -> list[np.ndarray]:
    """Return the ranks, from 0, of each query's `wanted` gallery indices in the whole gallery."""
    # Ranked by falling dot product, stably: of equals the earlier first, the gallery before the
    # distractors (parts, (rows, dim)). Rows have a norm of at most 1. `first` (queries, n) are
    # indices that come before all others, in this order; -1 for none.
    found = [np.empty(len(indices), np.int64) for indices in wanted]
    thresholds = [np.empty(len(indices), np.float32) for indices in wanted]
    step = max(1, MAX_SIMILARITIES // max(1, len(gallery)))
    for start in range(0, len(queries), step):
        chunk = slice(start, start + step)
        scores = (gallery @ queries[chunk].T).T
        put_first(scores, None if first is None else first[chunk])
        for row, score in enumerate(scores, start):
            order = np.argsort(-score, kind="stable")
            place_to_rank = np.empty(len(order), np.int64)
            place_to_rank[order] = np.arange(len(order))
            found[row] = place_to_rank[wanted[row]]
            thresholds[row] = score[wanted[row]]
    begin = len(gallery)
    for part in _pieces(distractors, len(queries)):
        scores = np.ascontiguousarray((part @ queries.T).T)
        put_first(scores, first, begin)
        scores.sort(axis=1)
        for row, score in enumerate(scores):
            found[row] += len(part) - np.searchsorted(score, thresholds[row], side="right")
        begin += len(part)
    return found


def put_first(scores: np.ndarray, first: np.ndarray | None, begin: int = 0) -> None:
    """Give re-ranked rows `first` (queries, n) scores above any cosine, in their order."""
    # `scores` (queries, rows), changed in place, are those of the indices from `begin` on
    if first is None:
        return
    indices = first - begin
    rows, turns = np.nonzero((first >= 0) & (indices >= 0) & (indices < scores.shape[1]))
    scores[rows, indices[rows, turns]] = 2 + first.shape[1] - turns


def _pieces(parts: Iterable[np.ndarray], queries: int) -> Iterator[np.ndarray]:
    step = max(1, MAX_SIMILARITIES // max(1, queries))
    for part in parts:
        for start in range(0, len(part), step):
            yield part[start : start + step]

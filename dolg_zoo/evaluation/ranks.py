"""At which ranks images stand among a million, without sorting the million.

A score of average precision needs the ranks of some hundreds of images a query and no others; and a
rank is the number of images that score higher, which can be counted a part at a time.
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
    """Return the ranks of some images, from 0, in each query's ranking of the whole gallery.

    The ranking is by falling dot product; of equals, the earlier is first, and all of the gallery
    before any distractor: a stable sort.

    Args:
        queries: (queries, dim), no longer than 1.
        gallery: (images, dim), no longer than 1.
        wanted: for each query, indices in the gallery.
        distractors: parts, (rows, dim), of what is searched besides the gallery.
        first: (queries, n), indices in the gallery and the distractors behind it: what stands
            before all others, in this order, whatever its score; -1 for nothing. None: nothing.

    Returns:
        For each query the ranks of what is wanted, in the order of `wanted`.
    """
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
    """Give what is to come first scores above any cosine, in its order.

    Args:
        scores: (queries, rows), of the indices from `begin` on; changed in place.
        first: (queries, n), rows of the re-ranked results.
        begin: the first of these indices.
    """
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

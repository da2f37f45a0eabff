"""Exact search for the nearest rows of a matrix by cosine, in memory of a fixed size."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dolg_zoo._util.cosines import reaches

ROWS = 16384
"""Rows compared at a time. Blocks are large, since NumPy's threads wait for each other at the end
of each block, and longest on a busy machine."""

QUERIES = 512
"""Queries compared at a time: with `ROWS`, scores of 32 MiB."""


class Exact:
    """Exact search among unit rows (rows, dim) float32, an array or a memory map; not copied."""

    # A NumPy product in blocks: faiss' flat index is slower
    # (docs/design/decisions/2_exact_search.md), and a whole score matrix would need more memory
    # than the descriptors.

    kind = "exact"
    recall = 1.0

    def __init__(self, descriptors: np.ndarray) -> None:
        self.descriptors = descriptors

    def changed(self, kept: np.ndarray, descriptors: np.ndarray) -> Exact:
        """Return the search among the descriptors after rows were removed and added."""
        return Exact(descriptors)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return cosines and row numbers, both (queries, k or fewer), best first."""
        k = min(k, len(self.descriptors))
        scores = np.empty((len(queries), k), np.float32)
        indices = np.empty((len(queries), k), np.int64)
        for start in range(0, len(queries) if k else 0, QUERIES):
            block = np.s_[start : start + QUERIES]
            scores[block], indices[block] = self._search(queries[block], k)
        return scores, indices

    def _search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        best = np.full((len(queries), k), -np.inf, np.float32)
        indices = np.full((len(queries), k), -1, np.int64)
        candidates, count = [], 0
        for first, scores in score_blocks(queries, self.descriptors):
            row, query = _better(scores, best[:, -1], k)
            candidates.append((scores[row, query], query, row + first))
            count += len(row)
            if count >= best.size:
                best, indices = _merged(best, indices, candidates)
                candidates, count = [], 0
        return _merged(best, indices, candidates)

    def within(
        self, queries: np.ndarray, threshold: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (cosines, queries, rows), each (pairs,) unsorted, from the threshold up."""
        pairs = list(pairs_within(queries, self.descriptors, threshold))
        empty = (np.empty(0, np.float32), np.empty(0, np.int64), np.empty(0, np.int64))
        scores, numbers, indices = map(np.concatenate, zip(empty, *pairs, strict=True))
        return scores, numbers, indices


def _better(scores: np.ndarray, least: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and queries of scores (rows, queries) that beat `least` (queries,)."""
    row, query = _where(scores > least)
    if len(row) > 4 * k * len(least) and k < len(scores):  # the first block: every score is better
        row, query = _where(scores >= np.partition(scores.T, -k, axis=1)[:, -k])
    return row, query


def _where(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # np.nonzero takes eight times as long on a mask that is nearly all False.
    return np.divmod(np.flatnonzero(mask), mask.shape[1])


def _merged(
    best: np.ndarray, indices: np.ndarray, new: list[tuple[np.ndarray, np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the k best of old and new (scores, indices); equal scores have the lower first."""
    queries, k = best.shape
    old = best.ravel(), np.repeat(np.arange(queries), k), indices.ravel()
    scores, query, index = map(np.concatenate, zip(old, *new, strict=True))
    order = np.lexsort((index, -scores, query))
    starts = np.searchsorted(query[order], np.arange(queries))
    first_k = order[starts[:, None] + np.arange(k)]
    return scores[first_k], index[first_k]


def score_blocks(queries: np.ndarray, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (first row, cosines (rows, queries)) of each block; the next block overwrites them."""
    # Rows times queries takes three quarters of the time of queries times rows.
    buffer = np.empty((min(ROWS, len(rows)), len(queries)), np.float32)
    for first in range(0, len(rows), ROWS):
        block = rows[first : first + ROWS]
        scores = buffer[: len(block)]
        np.matmul(block, queries.T, out=scores)
        yield first, scores


def pairs_within(
    queries: np.ndarray, rows: np.ndarray, threshold: float
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield (cosines, queries, rows) of pairs from the threshold up, each (pairs,), in blocks."""
    for start in range(0, len(queries), QUERIES):
        for first, scores in score_blocks(queries[start : start + QUERIES], rows):
            row, query = _where(reaches(scores, threshold))
            yield scores[row, query], query + start, row + first

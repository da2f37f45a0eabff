"""The nearest rows of a matrix by cosine: exactly, and in memory that does not grow with it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dolg_zoo._util.cosines import reaches

ROWS = 16384
"""Rows compared at a time. NumPy's threads wait for each other at the end of each block, which
costs most where other work wants the cores, so blocks are large."""

QUERIES = 512
"""Queries compared at a time: with `ROWS`, scores of 32 MiB."""


class Exact:
    """Exact search among unit rows (rows, dim) float32, an array or a memory map; not copied."""

    # NumPy's product in blocks: faiss' flat index is slower
    # (docs/design/decisions/2_exact_search.md), and a whole score matrix would need more memory
    # than the descriptors.

    kind = "exact"
    recall = 1.0

    def __init__(self, descriptors: np.ndarray) -> None:
        self.descriptors = descriptors

    def changed(self, kept: np.ndarray, descriptors: np.ndarray) -> Exact:
        """Return the search among these descriptors: some rows were removed, others added."""
        return Exact(descriptors)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return cosines and row numbers, both (queries, k or fewer), best first."""
        k = min(k, len(self.descriptors))
        scores = np.empty((len(queries), k), np.float32)
        indices = np.empty((len(queries), k), np.int64)
        for start in range(0, len(queries) if k else 0, QUERIES):
            some = np.s_[start : start + QUERIES]
            scores[some], indices[some] = self._search(queries[some], k)
        return scores, indices

    def _search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        best = np.full((len(queries), k), -np.inf, np.float32)
        indices = np.full((len(queries), k), -1, np.int64)
        found, held = [], 0
        for first, scores in score_blocks(queries, self.descriptors):
            row, query = _better(scores, best[:, -1], k)
            found.append((scores[row, query], query, row + first))
            held += len(row)
            if held >= best.size:
                best, indices = _merged(best, indices, found)
                found, held = [], 0
        return _merged(best, indices, found)

    def within(
        self, queries: np.ndarray, threshold: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (cosines, queries, rows), each (pairs,) unordered, from the threshold up."""
        found = list(pairs_within(queries, self.descriptors, threshold))
        empty = (np.empty(0, np.float32), np.empty(0, np.int64), np.empty(0, np.int64))
        scores, numbers, indices = map(np.concatenate, zip(empty, *found, strict=True))
        return scores, numbers, indices


def _better(scores: np.ndarray, least: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and queries of scores (rows, queries) that beat `least` (queries,)."""
    row, query = _where(scores > least)
    if len(row) > 4 * k * len(least) and k < len(scores):  # as in the first block, where all are
        row, query = _where(scores >= np.partition(scores.T, -k, axis=1)[:, -k])
    return row, query


def _where(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # np.nonzero takes eight times as long where hardly anything is True
    return np.divmod(np.flatnonzero(mask), mask.shape[1])


def _merged(
    best: np.ndarray, indices: np.ndarray, found: list[tuple[np.ndarray, np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the k best of old and new scores and indices; of equals, the lower index first."""
    queries, k = best.shape
    own = best.ravel(), np.repeat(np.arange(queries), k), indices.ravel()
    scores, query, index = map(np.concatenate, zip(own, *found, strict=True))
    order = np.lexsort((index, -scores, query))
    starts = np.searchsorted(query[order], np.arange(queries))
    kept = order[starts[:, None] + np.arange(k)]
    return scores[kept], index[kept]


def score_blocks(queries: np.ndarray, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (first row, cosines (block rows, queries)) block by block; the next overwrites them."""
    # the product this way round takes three quarters of the time
    buffer = np.empty((min(ROWS, len(rows)), len(queries)), np.float32)
    for first in range(0, len(rows), ROWS):
        block = rows[first : first + ROWS]
        scores = buffer[: len(block)]
        np.matmul(block, queries.T, out=scores)
        yield first, scores


def pairs_within(
    queries: np.ndarray, rows: np.ndarray, threshold: float
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield (cosines, queries, rows), each (pairs,), from the threshold up, block by block."""
    for start in range(0, len(queries), QUERIES):
        for first, scores in score_blocks(queries[start : start + QUERIES], rows):
            row, query = _where(reaches(scores, threshold))
            yield scores[row, query], query + start, row + first

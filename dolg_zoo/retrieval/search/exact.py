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
    """Exact search among unit rows.

    NumPy's product block by block, of which only what beats the best so far is looked at. The
    flat index of faiss takes longer (docs/design/decisions/2_exact_search.md has the figures), and
    a whole matrix of scores would take more memory than the descriptors.

    Args:
        descriptors: (rows, dim), float32, each row of norm 1: an array, or a memory map, of
            which no copy is made.
    """

    kind = "exact"
    recall = 1.0

    def __init__(self, descriptors: np.ndarray) -> None:
        self.descriptors = descriptors

    def changed(self, kept: np.ndarray, descriptors: np.ndarray) -> Exact:
        """Return the search among these descriptors: some rows were removed, others added."""
        return Exact(descriptors)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the k rows nearest to each query.

        Args:
            queries: (queries, dim), float32, each row of norm 1.
            k: the number of results; fewer if there are fewer rows.

        Returns:
            (scores, indices), each (queries, k): cosines in descending order, and row numbers.
        """
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
        """All rows whose cosine with a query is the threshold or more.

        Args:
            queries: (queries, dim), float32, each row of norm 1.
            threshold: the minimum cosine, from -1 to 1.

        Returns:
            (scores, query numbers, indices), each (found,), in no order.
        """
        found = list(pairs_within(queries, self.descriptors, threshold))
        empty = (np.empty(0, np.float32), np.empty(0, np.int64), np.empty(0, np.int64))
        scores, numbers, indices = map(np.concatenate, zip(empty, *found, strict=True))
        return scores, numbers, indices


def _better(scores: np.ndarray, least: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and query of the scores in a block that may be among the k best of their query.

    Args:
        scores: (rows, queries).
        least: (queries,), the k-th best so far.
        k: the number of results.
    """
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
    """Return the best of the best so far and of what was found: scores, query numbers and indices.

    Of equals, the one with the lower index comes first.
    """
    queries, k = best.shape
    own = best.ravel(), np.repeat(np.arange(queries), k), indices.ravel()
    scores, query, index = map(np.concatenate, zip(own, *found, strict=True))
    order = np.lexsort((index, -scores, query))
    starts = np.searchsorted(query[order], np.arange(queries))
    kept = order[starts[:, None] + np.arange(k)]
    return scores[kept], index[kept]


def score_blocks(queries: np.ndarray, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the cosines of one block of rows after another with all queries.

    Yields:
        (first, scores): the block's first row, and (rows of the block, queries) float32, which is
        overwritten by the next. The product this way round takes three quarters of the time.
    """
    buffer = np.empty((min(ROWS, len(rows)), len(queries)), np.float32)
    for first in range(0, len(rows), ROWS):
        block = rows[first : first + ROWS]
        scores = buffer[: len(block)]
        np.matmul(block, queries.T, out=scores)
        yield first, scores


def pairs_within(
    queries: np.ndarray, rows: np.ndarray, threshold: float
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield the pairs of a query and a row whose cosine is the threshold or more, block by block.

    Yields:
        (scores, query numbers, row numbers), each (found,).
    """
    for start in range(0, len(queries), QUERIES):
        for first, scores in score_blocks(queries[start : start + QUERIES], rows):
            row, query = _where(reaches(scores, threshold))
            yield scores[row, query], query + start, row + first

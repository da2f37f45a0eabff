"""The nearest rows of a matrix by cosine: exactly, and in memory that does not grow with it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

ROWS = 16384
"""Rows compared at a time. NumPy's threads wait for each other at the end of each block, which
costs most where other work wants the cores, so blocks are large."""

QUERIES = 512
"""Queries compared at a time: with `ROWS`, scores of 32 MiB."""


class Exact:
    """Exact search among unit rows.

    NumPy's product block by block, each block of scores going into faiss' heaps. faiss' own search
    takes 0.7 to 10 times as long, depending on its version and how its BLAS knows the processor,
    and a whole matrix of scores would take more memory than the descriptors.

    Args:
        descriptors: (rows, dim), float32, each row of length 1: an array, or a memory map, of
            which no copy is made.
    """

    kind = "exact"
    recall = 1.0

    def __init__(self, descriptors: np.ndarray) -> None:
        self.descriptors = descriptors

    def changed(self, kept: np.ndarray, descriptors: np.ndarray) -> Exact:
        """The search after some rows were removed and others added: among these descriptors."""
        return Exact(descriptors)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k rows nearest to each query.

        Args:
            queries: (queries, dim), float32, each row of length 1.
            k: how many; fewer come if there are fewer rows.

        Returns:
            (scores, places), each (queries, k): cosines in descending order, and row numbers.
        """
        k = min(k, len(self.descriptors))
        scores = np.empty((len(queries), k), np.float32)
        places = np.empty((len(queries), k), np.int64)
        for start in range(0, len(queries) if k else 0, QUERIES):
            some = np.s_[start : start + QUERIES]
            scores[some], places[some] = self._search(queries[some], k)
        return scores, places

    def _search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        import faiss

        heaps = faiss.ResultHeap(len(queries), k, keep_max=True)
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)  # else its threads and NumPy's take the cores from each other
        try:
            for first, scores in score_blocks(queries, self.descriptors):
                # the C++ heaps themselves: `ResultHeap.add_result` wants a number for each score
                heaps.heaps.addn(scores.shape[1], faiss.swig_ptr(scores), first)
        finally:
            faiss.omp_set_num_threads(threads)
        heaps.finalize()
        return heaps.D, heaps.I

    def within(
        self, queries: np.ndarray, threshold: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All rows whose cosine with a query is the threshold or more.

        Args:
            queries: (queries, dim), float32, each row of length 1.
            threshold: from -1 to 1.

        Returns:
            (scores, query numbers, places), each (found,), in no order.
        """
        found = list(pairs_within(queries, self.descriptors, threshold))
        empty = (np.empty(0, np.float32), np.empty(0, np.int64), np.empty(0, np.int64))
        return tuple(map(np.concatenate, zip(empty, *found, strict=True)))


def score_blocks(queries: np.ndarray, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The cosines of all queries with one block of rows after another.

    Yields:
        (first, scores): the block's first row, and (queries, rows of the block) float32, which is
        overwritten by the next.
    """
    buffer = np.empty(len(queries) * min(ROWS, len(rows)), np.float32)
    for first in range(0, len(rows), ROWS):
        block = rows[first : first + ROWS]
        scores = buffer[: len(queries) * len(block)].reshape(len(queries), len(block))
        np.matmul(queries, block.T, out=scores)
        yield first, scores


def pairs_within(
    queries: np.ndarray, rows: np.ndarray, threshold: float
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The pairs of a query and a row whose cosine is the threshold or more, block by block.

    Yields:
        (scores, query numbers, row numbers), each (found,).
    """
    for start in range(0, len(queries), QUERIES):
        for first, scores in score_blocks(queries[start : start + QUERIES], rows):
            query, row = np.nonzero(scores >= threshold)
            yield scores[query, row], query + start, row + first

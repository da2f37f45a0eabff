"""Groups of rows that are nearly the same."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from dolg_zoo._util.cosines import reaches
from dolg_zoo._util.progress import track
from dolg_zoo.retrieval.search.approximate import Approximate
from dolg_zoo.retrieval.search.exact import QUERIES, Exact, pairs_within

MAX_PAIRS = 2**22
"""Pairs in memory at a time; n copies of one picture are n² / 2 pairs."""

NEIGHBOURS = 32
"""Neighbours of each row that an approximate search compares."""


def duplicates(nearest: Exact | Approximate, threshold: float) -> list[np.ndarray]:
    """Return groups (ascending indices) of rows linked by cosines of at least the threshold."""
    # An exact search compares every pair. An approximate search compares each row with its nearest
    # neighbours and misses some pairs, as its recall states.
    rows = nearest.descriptors
    group = np.arange(len(rows))
    pairs, count = [], 0
    compared = group
    if isinstance(nearest, Approximate):
        # Equal rows are linked here; else they would fill each other's list of neighbours.
        compared, first = nearest.different, nearest.equal_to
        copies = np.flatnonzero(first != group)
        for block in np.array_split(copies, len(copies) // QUERIES + 1):
            scores = np.einsum("ij,ij->i", rows[block], rows[first[block]])
            block = block[reaches(scores, threshold)]
            pairs.append((block, first[block]))
    starts = range(0, len(compared), QUERIES)
    for start in track(starts, len(starts), "Comparing"):
        chosen = compared[start : start + QUERIES]
        if isinstance(nearest, Exact):  # each pair once: compare with rows from this block on
            new_pairs: Iterable[tuple[np.ndarray, np.ndarray]] = (
                (q, r + start) for _, q, r in pairs_within(rows[chosen], rows[start:], threshold)
            )
        else:
            scores, indices = nearest.search(rows[chosen], NEIGHBOURS, once=True)
            query, rank = np.nonzero(reaches(scores, threshold) & (indices >= 0))
            new_pairs = [(query, indices[query, rank])]
        for query, row in new_pairs:
            pairs.append((chosen[query], row))
            count += len(query)
            if count > MAX_PAIRS:
                group, pairs, count = _joined(group, pairs), [], 0
    group = _joined(group, pairs)
    order = np.argsort(group, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    return sorted((g for g in groups if len(g) > 1), key=lambda indices: indices[0])


def _joined(group: np.ndarray, pairs: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return each row's group number after the two groups of each pair were joined."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not pairs or not len(group):
        return group
    # int32, since csgraph of older SciPy versions takes no wider integers
    first, second = (
        group[np.concatenate(side)].astype(np.int32) for side in zip(*pairs, strict=True)
    )
    graph = coo_array((np.ones(len(first), bool), (first, second)), (len(group), len(group)))
    return connected_components(graph, directed=False)[1][group]

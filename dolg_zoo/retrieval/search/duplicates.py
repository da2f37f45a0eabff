"""Groups of rows that are nearly the same."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from dolg_zoo._util.cosines import reaches
from dolg_zoo._util.progress import track
from dolg_zoo.retrieval.search.approximate import Approximate
from dolg_zoo.retrieval.search.exact import QUERIES, Exact, pairs_within

MAX_PAIRS = 2**22
"""Pairs held at a time; a folder of one picture's copies has half the square of their number."""

NEIGHBOURS = 32
"""Rows looked at beside each, where the search is approximate."""


def duplicates(nearest: Exact | Approximate, threshold: float) -> list[np.ndarray]:
    """Return groups (ascending indices) of rows linked by cosines of at least the threshold."""
    # An exact search compares every pair. An approximate one compares each row with its results, so
    # it misses a share of rows that its recall tells.
    rows = nearest.descriptors
    group = np.arange(len(rows))
    pairs, held = [], 0
    compared = group
    if isinstance(nearest, Approximate):
        # a row's equals would be all its neighbours
        compared, first = nearest.different, nearest.equal_to
        copies = np.flatnonzero(first != group)
        for some in np.array_split(copies, len(copies) // QUERIES + 1):
            scores = np.einsum("ij,ij->i", rows[some], rows[first[some]])
            some = some[reaches(scores, threshold)]
            pairs.append((some, first[some]))
    starts = range(0, len(compared), QUERIES)
    for start in track(starts, len(starts), "Comparing"):
        chosen = compared[start : start + QUERIES]
        if isinstance(nearest, Exact):  # each pair once: with the rows from this block on
            found: Iterable[tuple[np.ndarray, np.ndarray]] = (
                (q, r + start) for _, q, r in pairs_within(rows[chosen], rows[start:], threshold)
            )
        else:
            scores, indices = nearest.search(rows[chosen], NEIGHBOURS, once=True)
            query, rank = np.nonzero(reaches(scores, threshold) & (indices >= 0))
            found = [(query, indices[query, rank])]
        for query, row in found:
            pairs.append((chosen[query], row))
            held += len(query)
            if held > MAX_PAIRS:
                group, pairs, held = _joined(group, pairs), [], 0
    group = _joined(group, pairs)
    order = np.argsort(group, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    return sorted((g for g in groups if len(g) > 1), key=lambda indices: indices[0])


def _joined(group: np.ndarray, pairs: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return the groups' numbers after the groups of each pair have become one."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not pairs or not len(group):
        return group
    # csgraph of older versions of SciPy takes no wider integers
    first, second = (
        group[np.concatenate(side)].astype(np.int32) for side in zip(*pairs, strict=True)
    )
    graph = coo_array((np.ones(len(first), bool), (first, second)), (len(group), len(group)))
    return connected_components(graph, directed=False)[1][group]

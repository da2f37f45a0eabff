"""The protocol of Revisited Oxford and Paris (Radenović et al., 2018, arXiv 1803.11285).

Junk images, neither right nor wrong, are removed from a ranking before it is scored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from dolg_zoo.evaluation.ranks import ranks
from dolg_zoo.evaluation.revisited.ground_truth import GroundTruth

KS = (1, 5, 10)

SETUPS = {
    "easy": (("easy",), ("junk", "hard")),
    "medium": (("easy", "hard"), ("junk",)),
    "hard": (("hard",), ("junk", "easy")),
}
"""What each setup counts as right, and what as junk."""


@dataclass(frozen=True)
class RevisitedScores:
    """Scores of one setup.

    Attributes:
        map: mean average precision of the queries, from 0 to 1.
        precision_at: for each of `KS`, the mean precision of the first k results.
        queries: the number of queries that were counted: those with a relevant image.
    """

    map: float
    precision_at: dict[int, float]
    queries: int


def revisited_scores(
    truth: GroundTruth,
    queries: np.ndarray,
    gallery: np.ndarray,
    distractors: Iterable[np.ndarray] = (),
    first: np.ndarray | None = None,
) -> dict[str, RevisitedScores]:
    """Return the scores of a ranking by dot product.

    Args:
        truth: the ground truth.
        queries: (queries, dim), unit rows, in the order of `truth.queries`.
        gallery: (images, dim), unit rows, in the order of `truth.gallery`.
        distractors: parts, (rows, dim), of the other images that are searched.
        first: re-ranked results; see `ranks`.

    Returns:
        "easy", "medium" and "hard" with their scores; without those in which no query has anything
        right to find.

    Raises:
        ValueError: if the shapes do not fit the ground truth, or a descriptor is not finite.
    """
    for what, rows, names in (
        ("queries", queries, truth.queries),
        ("gallery", gallery, truth.gallery),
    ):
        if rows.ndim != 2 or len(rows) != len(names):
            raise ValueError(f"The {what} must have shape ({len(names)}, dim), not {rows.shape}.")
        if not np.isfinite(rows).all():
            raise ValueError(f"The {what} have descriptors that are not finite.")
    kinds = {"easy": truth.easy, "hard": truth.hard, "junk": truth.junk}
    wanted = [np.concatenate(lists) for lists in zip(*kinds.values(), strict=True)]
    of_query = [
        dict(
            zip(kinds, np.split(found, np.cumsum([len(part) for part in lists])[:-1]), strict=True)
        )
        for found, *lists in zip(
            ranks(queries, gallery, wanted, distractors, first), *kinds.values(), strict=True
        )
    ]
    scores = {}
    for setup, (right, junk) in SETUPS.items():
        scored = [
            _scored(_union(found, right), _union(found, junk))
            for found in of_query
            if any(len(found[kind]) for kind in right)
        ]
        if scored:
            mean_ap, *precisions = np.mean(scored, axis=0).tolist()
            precision_at = dict(zip(KS, precisions, strict=True))
            scores[setup] = RevisitedScores(mean_ap, precision_at, len(scored))
    return scores


def _union(found: dict[str, np.ndarray], kinds: Sequence[str]) -> np.ndarray:
    return np.sort(np.concatenate([found[kind] for kind in kinds]))


def _scored(right: np.ndarray, junk: np.ndarray) -> tuple[float, ...]:
    """Return average precision, and precision at each of `KS`, from ascending ranks from 0."""
    right = right - np.searchsorted(junk, right)  # as if the junk were not there
    hits = np.arange(len(right))
    # by the trapezoid: the mean of the precision before and after each hit
    before = np.where(right == 0, 1.0, hits / np.maximum(right, 1))
    after = (hits + 1) / (right + 1)
    # the official code looks no further than the last hit
    depths = [min(k, int(right[-1]) + 1) for k in KS]
    return float((before + after).mean() / 2), *((right < k).sum() / k for k in depths)

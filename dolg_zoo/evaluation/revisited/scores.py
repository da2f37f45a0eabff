"""The protocol of Revisited Oxford and Paris (Radenović et al., 2018, arXiv 1803.11285).

Junk images are neither right nor wrong: they are removed from a ranking before it is scored.
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
"""For each setup, the kinds of images that are right, and the kinds that are junk."""


@dataclass(frozen=True)
class RevisitedScores:
    """Scores of one setup.

    Attributes:
        map: mean average precision of the queries, from 0 to 1.
        precision_at: for each of `KS`, the mean precision of the first k results.
        queries: the number of queries with a relevant image; only these are scored.
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
        distractors: parts, (rows, dim), of further images to search.
        first: re-ranked results; see `ranks`.

    Returns:
        "easy", "medium" and "hard" to scores. A setup in which no query has a right image is left
        out.

    Raises:
        ValueError: if a shape does not fit the ground truth, or a descriptor is not finite.
    """
    for role, rows, names in (
        ("queries", queries, truth.queries),
        ("gallery", gallery, truth.gallery),
    ):
        if rows.ndim != 2 or len(rows) != len(names):
            raise ValueError(f"The {role} must have shape ({len(names)}, dim), not {rows.shape}.")
        if not np.isfinite(rows).all():
            raise ValueError(f"The {role} have descriptors that are not finite.")
    kinds = {"easy": truth.easy, "hard": truth.hard, "junk": truth.junk}
    listed = [np.concatenate(lists) for lists in zip(*kinds.values(), strict=True)]
    ranks_of_query = [
        dict(
            zip(kinds, np.split(ranked, np.cumsum([len(part) for part in lists])[:-1]), strict=True)
        )
        for ranked, *lists in zip(
            ranks(queries, gallery, listed, distractors, first), *kinds.values(), strict=True
        )
    ]
    scores = {}
    for setup, (right, junk) in SETUPS.items():
        scored = [
            _scored(_union(by_kind, right), _union(by_kind, junk))
            for by_kind in ranks_of_query
            if any(len(by_kind[kind]) for kind in right)
        ]
        if scored:
            mean_ap, *precisions = np.mean(scored, axis=0).tolist()
            precision_at = dict(zip(KS, precisions, strict=True))
            scores[setup] = RevisitedScores(mean_ap, precision_at, len(scored))
    return scores


def _union(by_kind: dict[str, np.ndarray], kinds: Sequence[str]) -> np.ndarray:
    return np.sort(np.concatenate([by_kind[kind] for kind in kinds]))


def _scored(right: np.ndarray, junk: np.ndarray) -> tuple[float, ...]:
    """Return average precision and precision at each of `KS`, from ascending ranks from 0."""
    right = right - np.searchsorted(junk, right)  # the ranks without the junk images
    hits = np.arange(len(right))
    # Trapezoidal rule: the mean of the precision before and after each hit.
    before = np.where(right == 0, 1.0, hits / np.maximum(right, 1))
    after = (hits + 1) / (right + 1)
    # The official code stops at the last hit.
    depths = [min(k, int(right[-1]) + 1) for k in KS]
    return float((before + after).mean() / 2), *((right < k).sum() / k for k in depths)

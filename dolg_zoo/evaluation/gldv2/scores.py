"""The scores of Google Landmarks v2, as its authors define them (arXiv 2004.01804)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

DEPTH = 100


def mean_average_precision_at(
    predictions: Mapping[str, Sequence[str]], solution: Mapping[str, Collection[str]]
) -> float:
    """mAP@100: the mean over all queries of the solution of AP@100.

    AP@100 of a query with m relevant images is the sum of the precision at each rank up to 100 at
    which one of them stands, divided by min(m, 100).

    Args:
        predictions: query to images, best first; one that stands there again takes a rank and
            finds nothing. A query without a prediction counts as 0.
        solution: query to the relevant images, at least one.

    Raises:
        ValueError: if the solution is empty.
    """
    if not solution:
        raise ValueError("There is nothing to score: the solution has no query.")
    total = 0.0
    for query, relevant in solution.items():
        left, found, score = set(relevant), 0, 0.0
        for rank, image in enumerate(predictions.get(query, ())[:DEPTH], 1):
            if image in left:
                left.remove(image)
                found += 1
                score += found / rank
        total += score / min(len(set(relevant)), DEPTH)
    return total / len(solution)


def micro_average_precision(
    predictions: Mapping[str, tuple[int, float]], solution: Mapping[str, Collection[int]]
) -> float:
    """μAP, also called GAP: the average precision of all queries' predictions as one ranking.

    The predictions are ranked by confidence; of equals, those of the smaller query id come first.
    The sum of the precision at the rank of each right one is divided by the number of queries that
    show a landmark. A landmark predicted where there is none lowers the score.

    Args:
        predictions: query to (landmark, confidence); a query may be without. Those that the
            solution lacks do not count.
        solution: query to the landmarks it shows, if any.

    Raises:
        ValueError: if no query of the solution shows a landmark.
    """
    showing = sum(bool(landmarks) for landmarks in solution.values())
    if not showing:
        raise ValueError("There is nothing to score: no query of the solution shows a landmark.")
    ranking = sorted(
        (-confidence, query, landmark)
        for query, (landmark, confidence) in predictions.items()
        if query in solution
    )
    right = np.array([landmark in solution[query] for _, query, landmark in ranking], bool)
    precision = right.cumsum() / np.arange(1, len(right) + 1)
    return float(precision[right].sum() / showing)


def recognise(
    scores: np.ndarray, indices: np.ndarray, landmarks: np.ndarray
) -> list[tuple[int, float] | None]:
    """Return (landmark, confidence) or None for each query, by neighbours (queries, k)."""
    # Each neighbour votes for its landmark with its similarity; the highest sum wins and is the
    # confidence. Of equal sums the nearer neighbour's wins. An index of -1 is no neighbour.
    predictions: list[tuple[int, float] | None] = []
    for row, found in zip(scores.tolist(), indices.tolist(), strict=True):
        votes: dict[int, float] = {}
        for score, index in zip(row, found, strict=True):
            if index >= 0:
                landmark = int(landmarks[index])
                votes[landmark] = votes.get(landmark, 0.0) + score
        predictions.append(max(votes.items(), key=lambda vote: vote[1]) if votes else None)
    return predictions

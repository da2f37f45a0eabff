"""The scores of Google Landmarks v2, as its authors define them (arXiv 2004.01804)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

DEPTH = 100


def mean_average_precision_at(
    predictions: Mapping[str, Sequence[str]], solution: Mapping[str, Collection[str]]
) -> float:
    """Return mAP@100: the mean of AP@100 over all queries of the solution.

    AP@100 of a query with m relevant images: add the precision at each rank up to 100 that has a
    relevant image, and divide by min(m, 100).

    Args:
        predictions: query to images, best first. A repeated image takes a rank and counts as wrong.
            A query without a prediction scores 0.
        solution: query to its relevant images, at least one.

    Raises:
        ValueError: if the solution is empty.
    """
    if not solution:
        raise ValueError("There is nothing to score: the solution has no query.")
    total = 0.0
    for query, relevant in solution.items():
        remaining, hits, score = set(relevant), 0, 0.0
        for rank, image in enumerate(predictions.get(query, ())[:DEPTH], 1):
            if image in remaining:
                remaining.remove(image)
                hits += 1
                score += hits / rank
        total += score / min(len(set(relevant)), DEPTH)
    return total / len(solution)


def micro_average_precision(
    predictions: Mapping[str, tuple[int, float]], solution: Mapping[str, Collection[int]]
) -> float:
    """Return μAP, also called GAP: the average precision of all predictions in one ranking.

    Predictions are ranked by confidence, then by query id. The sum of the precision at the rank of
    each right prediction is divided by the number of queries with a landmark. A prediction for a
    query without a landmark lowers the score.

    Args:
        predictions: query to (landmark, confidence). Queries may be missing, and queries that are
            not in the solution do not count.
        solution: query to its landmarks, if any.

    Raises:
        ValueError: if no query of the solution shows a landmark.
    """
    with_landmark = sum(bool(landmarks) for landmarks in solution.values())
    if not with_landmark:
        raise ValueError("There is nothing to score: no query of the solution shows a landmark.")
    ranking = sorted(
        (-confidence, query, landmark)
        for query, (landmark, confidence) in predictions.items()
        if query in solution
    )
    right = np.array([landmark in solution[query] for _, query, landmark in ranking], bool)
    precision = right.cumsum() / np.arange(1, len(right) + 1)
    return float(precision[right].sum() / with_landmark)


def recognise(
    scores: np.ndarray, indices: np.ndarray, landmarks: np.ndarray
) -> list[tuple[int, float] | None]:
    """Return (landmark, confidence) or None for each query, from its neighbours (queries, k)."""
    # Each neighbour votes for its landmark with its similarity. The highest sum wins and is the
    # confidence; between equal sums, the landmark of the nearest neighbour wins. Index -1: none.
    predictions: list[tuple[int, float] | None] = []
    for row_scores, row_indices in zip(scores.tolist(), indices.tolist(), strict=True):
        votes: dict[int, float] = {}
        for score, index in zip(row_scores, row_indices, strict=True):
            if index >= 0:
                landmark = int(landmarks[index])
                votes[landmark] = votes.get(landmark, 0.0) + score
        predictions.append(max(votes.items(), key=lambda vote: vote[1]) if votes else None)
    return predictions

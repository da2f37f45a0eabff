"""Average precision and recall of rankings by cosine similarity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dolg_zoo.evaluation.ranks import put_first

# similarities held at a time; sorting them takes about thirty bytes each
MAX_SIMILARITIES = 2**22

Labels = Sequence[Any] | np.ndarray


@dataclass(frozen=True)
class RetrievalScores:
    """How well queries found what belongs to them.

    Attributes:
        map: mean of the queries' average precision, from 0 to 1.
        recall_at_1: share of the queries whose first result is relevant.
        queries: the number of queries that were counted: those with a relevant image.
    """

    map: float
    recall_at_1: float
    queries: int


def average_precision(relevant_in_rank_order: Sequence[bool] | np.ndarray) -> np.ndarray:
    """Return the mean, over the relevant results, of the precision at each one's rank.

    No interpolation: relevant results at ranks 1 and 4 give (1/1 + 2/4) / 2.

    Args:
        relevant_in_rank_order: (..., ranks), whether the result at each rank, best first, is
            relevant. It must contain all relevant results.

    Returns:
        (...), from 0 to 1.

    Raises:
        ValueError: if there is a ranking without a relevant result.
    """
    relevant = np.asarray(relevant_in_rank_order, dtype=bool)
    found = relevant.cumsum(axis=-1)
    if relevant.shape[-1] == 0 or not found[..., -1].all():
        raise ValueError("Average precision needs at least one relevant result in each ranking.")
    precision = found / np.arange(1, relevant.shape[-1] + 1)
    return (precision * relevant).sum(axis=-1) / found[..., -1]


def leave_one_out(descriptors: np.ndarray, labels: Labels) -> RetrievalScores:
    """Scores of each image as a query against all others.

    Images whose label no other image has are in the gallery, but are no queries.

    Args:
        descriptors: (images, dim); compared by cosine, so their lengths do not matter.
        labels: (images,); images of equal label are relevant to each other.

    Raises:
        ValueError: if the shapes do not agree, a descriptor is not finite, or no two images have
            the same label.
    """
    return _summary(*leave_one_out_each(descriptors, labels)[:2])


def leave_one_out_each(
    descriptors: np.ndarray,
    labels: Labels,
    queries: np.ndarray | None = None,
    first: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return average precision, recall at 1 and the first result of each image, all (images,)."""
    # `queries` (images, dim) replace `descriptors` for queries; `first` (images, n) are re-ranked
    # results, see `ranks`. NaN, NaN and -1 for images whose label no other image has.
    queries = descriptors if queries is None else queries
    return _each(queries, labels, descriptors, labels, is_same_set=True, first=first)


def query_gallery(
    query_descriptors: np.ndarray,
    query_labels: Labels,
    gallery_descriptors: np.ndarray,
    gallery_labels: Labels,
) -> RetrievalScores:
    """Scores of queries against a separate gallery.

    Args:
        query_descriptors: (queries, dim).
        query_labels: (queries,).
        gallery_descriptors: (images, dim).
        gallery_labels: (images,); images with the query's label are relevant.

    Raises:
        ValueError: if the shapes do not agree, a descriptor is not finite, or no query has
            anything relevant in the gallery.
    """
    scores = _each(query_descriptors, query_labels, gallery_descriptors, gallery_labels)
    return _summary(*scores[:2])


def _each(
    query_descriptors: np.ndarray,
    query_labels: Labels,
    gallery_descriptors: np.ndarray,
    gallery_labels: Labels,
    is_same_set: bool = False,
    first: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    queries, query_labels = _checked(query_descriptors, query_labels)
    gallery, gallery_labels = _checked(gallery_descriptors, gallery_labels)
    if queries.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"Queries of dimension {queries.shape[1]} cannot be compared with a gallery of"
            f" dimension {gallery.shape[1]}."
        )
    precisions, hits = np.full((2, len(queries)), np.nan)
    found = np.full(len(queries), -1)
    step = max(1, MAX_SIMILARITIES // max(1, len(gallery)))
    for start in range(0, len(queries), step):
        chunk = slice(start, start + step)
        similarities = queries[chunk] @ gallery.T
        if is_same_set:
            rows = np.arange(len(similarities))
            similarities[rows, start + rows] = -np.inf  # the image itself: last, and cut off
        put_first(similarities, None if first is None else first[chunk])
        # stable: of equally similar images the earlier comes first
        order = np.argsort(-similarities, axis=1, kind="stable")
        if is_same_set:
            order = order[:, :-1]
        relevant = gallery_labels[order] == query_labels[chunk, None]
        is_query = relevant.any(axis=1)
        if is_query.any():
            rows = start + np.flatnonzero(is_query)
            precisions[rows] = average_precision(relevant[is_query])
            hits[rows] = relevant[is_query, 0]
            found[rows] = order[is_query, 0]
    return precisions, hits, found


def _summary(precisions: np.ndarray, hits: np.ndarray) -> RetrievalScores:
    is_query = ~np.isnan(precisions)
    if not is_query.any():
        raise ValueError(
            "There is nothing to score: no query has another image of its label to find."
        )
    return RetrievalScores(
        float(precisions[is_query].mean()), float(hits[is_query].mean()), int(is_query.sum())
    )


def _checked(descriptors: np.ndarray, labels: Labels) -> tuple[np.ndarray, np.ndarray]:
    descriptors, labels = np.asarray(descriptors, np.float32), np.asarray(labels)
    if descriptors.ndim != 2 or labels.shape != descriptors.shape[:1]:
        raise ValueError(
            "Descriptors must have shape (images, dim) and labels (images,), not"
            f" {descriptors.shape} and {labels.shape}."
        )
    if not np.isfinite(descriptors).all():
        raise ValueError("There are descriptors that are not finite.")
    lengths = np.linalg.norm(descriptors, axis=1, keepdims=True)
    return descriptors / np.maximum(lengths, np.finfo(np.float32).tiny), labels

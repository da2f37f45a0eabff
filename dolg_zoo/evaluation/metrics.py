"""Average precision and recall of rankings by cosine similarity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dolg_zoo.evaluation.ranks import put_first

# similarities in memory at a time; sorting takes about thirty bytes for each
MAX_SIMILARITIES = 2**22

Labels = Sequence[Any] | np.ndarray


@dataclass(frozen=True)
class RetrievalScores:
    """Mean scores of queries.

    Attributes:
        map: mean of the queries' average precision, from 0 to 1.
        recall_at_1: share of the queries whose first result is relevant.
        queries: the number of queries with a relevant image; only these are scored.
    """

    map: float
    recall_at_1: float
    queries: int


def average_precision(relevant_in_rank_order: Sequence[bool] | np.ndarray) -> np.ndarray:
    """Return the average precision of rankings: the mean precision at the relevant ranks.

    No interpolation: relevant results at ranks 1 and 4 give (1/1 + 2/4) / 2.

    Args:
        relevant_in_rank_order: (..., ranks), whether the result at each rank, best first, is
            relevant. It must contain all relevant results.

    Returns:
        (...), from 0 to 1.

    Raises:
        ValueError: if a ranking has no relevant result.
    """
    relevant = np.asarray(relevant_in_rank_order, dtype=bool)
    hits = relevant.cumsum(axis=-1)
    if relevant.shape[-1] == 0 or not hits[..., -1].all():
        raise ValueError("Average precision needs at least one relevant result in each ranking.")
    precision = hits / np.arange(1, relevant.shape[-1] + 1)
    return (precision * relevant).sum(axis=-1) / hits[..., -1]


def leave_one_out(descriptors: np.ndarray, labels: Labels) -> RetrievalScores:
    """Return the scores of a search in which each image is the query once, among all others.

    An image whose label no other image has is in the gallery, but is not a query.

    Args:
        descriptors: (images, dim); compared by cosine, so their norms do not matter.
        labels: (images,); images with the same label are relevant to each other.

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
    # `queries` (images, dim): the images' descriptors as queries, if they differ. `first`
    # (images, n): re-ranked results, see `ranks`. Images that are not queries: NaN, NaN and -1.
    queries = descriptors if queries is None else queries
    return _each(queries, labels, descriptors, labels, is_same_set=True, first=first)


def query_gallery(
    query_descriptors: np.ndarray,
    query_labels: Labels,
    gallery_descriptors: np.ndarray,
    gallery_labels: Labels,
) -> RetrievalScores:
    """Return the scores of queries against a separate gallery.

    Args:
        query_descriptors: (queries, dim).
        query_labels: (queries,).
        gallery_descriptors: (images, dim).
        gallery_labels: (images,); images with the query's label are relevant.

    Raises:
        ValueError: if the shapes do not agree, a descriptor is not finite, or no query has a
            relevant image in the gallery.
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
    first_results = np.full(len(queries), -1)
    step = max(1, MAX_SIMILARITIES // max(1, len(gallery)))
    for start in range(0, len(queries), step):
        chunk = slice(start, start + step)
        similarities = queries[chunk] @ gallery.T
        if is_same_set:
            rows = np.arange(len(similarities))
            similarities[rows, start + rows] = -np.inf  # move the query to the end of its results
        put_first(similarities, None if first is None else first[chunk])
        # stable: equally similar images keep their order
        order = np.argsort(-similarities, axis=1, kind="stable")
        if is_same_set:
            order = order[:, :-1]
        relevant = gallery_labels[order] == query_labels[chunk, None]
        is_query = relevant.any(axis=1)
        if is_query.any():
            rows = start + np.flatnonzero(is_query)
            precisions[rows] = average_precision(relevant[is_query])
            hits[rows] = relevant[is_query, 0]
            first_results[rows] = order[is_query, 0]
    return precisions, hits, first_results


def _summary(precisions: np.ndarray, hits: np.ndarray) -> RetrievalScores:
    is_query = ~np.isnan(precisions)
    if not is_query.any():
        raise ValueError("There is nothing to score: no query has another image with its label.")
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
    norms = np.linalg.norm(descriptors, axis=1, keepdims=True)
    return descriptors / np.maximum(norms, np.finfo(np.float32).tiny), labels

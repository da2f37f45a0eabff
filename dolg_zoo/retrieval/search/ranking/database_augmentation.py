"""A gallery whose images have learned from each other."""

from __future__ import annotations

import numpy as np

from dolg_zoo._util.progress import track
from dolg_zoo.retrieval.search.ranking.neighbour_sums import Search, added

ROWS = 4096  # searched for at a time


def augment_database(
    gallery: np.ndarray, search: Search, n: int = 5, alpha: float = 3.0
) -> np.ndarray:
    """Database-side augmentation: each image's descriptor plus those of its n nearest others.

    The weights are those of `expand_queries`. Done once, before the gallery is indexed anew.
    Sources: Arandjelović and Zisserman, "Three things everyone should know to improve object
    retrieval" (CVPR 2012); Gordo et al., "End-to-end Learning of Deep Visual Representations for
    Image Retrieval" (2017, arXiv 1610.07940).

    Args:
        gallery: (images, dim), unit rows: an array or a memory map.
        search: finds indices in the gallery; it may find each image itself, or leave it out.
        n: the number of neighbours; all of them if there are fewer.
        alpha: exponent of the similarity as a weight, at least 0; 0 is the plain mean.

    Returns:
        (images, dim), float32, unit rows.
    """
    augmented = np.empty(gallery.shape, np.float32)
    starts = range(0, len(gallery), ROWS)
    for start in track(starts, len(starts), "Augmenting"):
        rows = np.asarray(gallery[start : start + ROWS], np.float32)
        scores, indices = search(rows, min(n + 1, len(gallery)))
        scores, indices = _without_self(scores, indices, start)
        augmented[start : start + ROWS] = added(rows, scores[:, :n], indices[:, :n], gallery, alpha)
    return augmented


def _without_self(
    scores: np.ndarray, indices: np.ndarray, start: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the neighbours of rows from `start` on, without these rows themselves."""
    is_self = indices == np.arange(start, start + len(indices))[:, None]
    # by index, not as the first: of equal images any may come first
    order = np.argsort(is_self, axis=1, kind="stable")
    scores, indices = (np.take_along_axis(array, order, axis=1) for array in (scores, indices))
    return scores, np.where(np.sort(is_self, axis=1), -1, indices)

"""The options of a ranking, and the function that applies them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dolg_zoo._util.arguments import check_fields, number, stated, whole_number
from dolg_zoo.retrieval.search.ranking.expansion import Search, expand_queries
from dolg_zoo.retrieval.search.ranking.reciprocal import rerank

MAX_LIST = 4096
"""The longest list that is re-ranked: memory and time grow with its square."""


@dataclass(frozen=True)
class Ranking:
    """Options of a search. By default all are off, and cosine similarity ranks the results.

    Attributes:
        expand: number of first results to add to a query, each with the weight
            max(0, cosine)^alpha; 0 for none.
        alpha: exponent of the similarity in that weight; 0 gives the plain mean.
        rerank: number of first results to re-rank (k-reciprocal); 0 for none. The other results
            keep their order.
        k1: number of neighbours that the re-ranking compares.
        k2: number of neighbours that the re-ranking averages over.
        weight: weight of the cosine similarity in the re-ranking, from 0 to 1.
        dba: number of neighbours to add to each gallery image before the search, weighted with
            `alpha` as in the expansion; 0 for none.

    Raises:
        ValueError: if a value is out of range; the message names it.
    """

    expand: int = stated(whole_number, least=0, default=0)
    alpha: float = stated(number, least=0, default=3.0)
    rerank: int = stated(whole_number, least=0, most=MAX_LIST, default=0)
    k1: int = stated(whole_number, least=1, default=20)
    k2: int = stated(whole_number, least=1, default=6)
    weight: float = stated(number, least=0, most=1, default=0.3)
    dba: int = stated(whole_number, least=0, default=0)

    def __post_init__(self) -> None:
        """Check every option."""
        check_fields(self)

    @property
    def is_plain(self) -> bool:
        """Whether results are ranked by cosine similarity alone."""
        return not (self.expand or self.rerank or self.dba)


def ranked(
    queries: np.ndarray, search: Search, gallery: np.ndarray, k: int, options: Ranking
) -> tuple[np.ndarray, np.ndarray]:
    """Return (scores, indices) of the k best images for each query, each (queries, k or fewer)."""
    # All arrays are unit rows; the caller augments the gallery for `options.dba`. `search` gets all
    # queries in order, so it can leave out each query's own image. Only result rows of the gallery
    # are read. Scores are cosines with the expanded queries, not sorted after a re-ranking.
    if options.expand:
        queries = expand_queries(queries, search, gallery, options.expand, options.alpha)
    scores, indices = search(queries, min(max(k, options.rerank), len(gallery)))
    if options.rerank:
        head, tail = np.s_[:, : options.rerank], np.s_[:, options.rerank :]
        new = rerank(
            queries, scores[head], indices[head], gallery, options.k1, options.k2, options.weight
        )
        scores = np.concatenate([new[0], scores[tail]], axis=1)
        indices = np.concatenate([new[1], indices[tail]], axis=1)
    return scores[:, :k], indices[:, :k]

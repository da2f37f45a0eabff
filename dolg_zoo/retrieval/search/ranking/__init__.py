"""Better rankings from the same descriptors: query expansion, augmentation, re-ranking."""

from dolg_zoo.retrieval.search.ranking.expansion import augment_database, expand_queries
from dolg_zoo.retrieval.search.ranking.options import Ranking, ranked
from dolg_zoo.retrieval.search.ranking.reciprocal import rerank

__all__ = ["Ranking", "augment_database", "expand_queries", "ranked", "rerank"]

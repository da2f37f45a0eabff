"""Better rankings from the same descriptors: of each function one idea, in NumPy."""

from dolg_zoo.retrieval.search.ranking.database_augmentation import augment_database
from dolg_zoo.retrieval.search.ranking.options import Ranking, ranked
from dolg_zoo.retrieval.search.ranking.query_expansion import expand_queries
from dolg_zoo.retrieval.search.ranking.reciprocal import rerank

__all__ = ["Ranking", "augment_database", "expand_queries", "ranked", "rerank"]

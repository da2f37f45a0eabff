"""Descriptors of many images: an index to search, and pictures of what was found."""

from dolg_zoo.errors import StoreError
from dolg_zoo.retrieval.extraction import ExtractionReport, extract
from dolg_zoo.retrieval.folder_map import draw_map
from dolg_zoo.retrieval.gallery import Match, Matches
from dolg_zoo.retrieval.index import Index
from dolg_zoo.retrieval.montage import Picture, montage, montage_rows
from dolg_zoo.retrieval.ranking import Ranking
from dolg_zoo.retrieval.store import DescriptorStore
from dolg_zoo.retrieval.whitening import whiten

__all__ = [
    "DescriptorStore",
    "ExtractionReport",
    "Index",
    "Match",
    "Matches",
    "Picture",
    "Ranking",
    "StoreError",
    "draw_map",
    "extract",
    "montage",
    "montage_rows",
    "whiten",
]

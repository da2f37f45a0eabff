"""Descriptors of many images: an index to search, and pictures of its results."""

from dolg_zoo.drawing.map import draw_map
from dolg_zoo.drawing.montage import Picture, montage, montage_rows
from dolg_zoo.errors import StoreError
from dolg_zoo.retrieval.extraction.extract import ExtractionReport, extract
from dolg_zoo.retrieval.extraction.store import DescriptorStore
from dolg_zoo.retrieval.index.index import Index
from dolg_zoo.retrieval.matches import Match, Matches
from dolg_zoo.retrieval.search.ranking import Ranking
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

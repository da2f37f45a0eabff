"""Descriptors of many images: an index to search, and pictures of what was found."""

from dolg_zoo.retrieval.extraction import ExtractionReport, extract
from dolg_zoo.retrieval.index import Index, Match
from dolg_zoo.retrieval.montage import Picture, montage, montage_rows
from dolg_zoo.retrieval.store import DescriptorStore, StoreError

__all__ = [
    "DescriptorStore",
    "ExtractionReport",
    "Index",
    "Match",
    "Picture",
    "StoreError",
    "extract",
    "montage",
    "montage_rows",
]

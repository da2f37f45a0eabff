"""Descriptors of many images: an index to search, and pictures of what was found."""

from dolg_zoo.retrieval.index import Index, Match
from dolg_zoo.retrieval.montage import Picture, montage, montage_rows

__all__ = ["Index", "Match", "Picture", "montage", "montage_rows"]

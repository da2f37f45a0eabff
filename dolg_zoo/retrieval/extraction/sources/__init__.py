"""Sources of images: a folder, a glob, a CSV or Parquet list, tar shards."""

from dolg_zoo.errors import DataError
from dolg_zoo.retrieval.extraction.sources.open_source import (
    Box,
    Files,
    Source,
    first_images,
    open_source,
)
from dolg_zoo.retrieval.extraction.sources.shards import Shards

__all__ = ["Box", "DataError", "Files", "Shards", "Source", "first_images", "open_source"]

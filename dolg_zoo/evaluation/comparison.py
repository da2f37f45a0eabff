"""Compare a model with a changed form of it (such as int8) on folders of images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dolg_zoo._util.text import percent
from dolg_zoo.evaluation.class_folder import ALL, ClassFolder
from dolg_zoo.evaluation.search import exact_search
from dolg_zoo.preprocessing import list_images
from dolg_zoo.retrieval.extraction.descriptor_cache import describe_files

if TYPE_CHECKING:
    from dolg_zoo.embedders.base import ImageEmbedder

NEIGHBOURS = 10
MIN_AGREEMENT = 0.8
"""The limit for folders without classes. On two sets of class folders, int8 forms of the embedded
preset lost up to 0.007 of mAP and had 0.85 to 0.97 of the same ten nearest images, most of them not
of the query's class. The limit is a little below these values."""


@dataclass(frozen=True)
class Comparison:
    """A folder's scores before and after a change of the model."""

    folder: str
    measure: str  # "mAP"; without classes "agreement", the share of equal results in the first ten
    before: float  # score of the model; 1 for an agreement
    after: float  # score of its changed form

    def __str__(self) -> str:
        before, after = percent(self.before), percent(self.after)
        return f"{self.measure} on {self.folder} {before} before, {after} after"

    def is_worse(self, max_loss: float) -> bool:
        """Return whether the loss is above the limit; an agreement's limit is `MIN_AGREEMENT`."""
        if self.measure == "agreement":
            return not self.after >= MIN_AGREEMENT
        return not self.before - self.after <= max_loss


def compare(before: ImageEmbedder, after: ImageEmbedder, folder: str | Path) -> Comparison:
    """Compare leave-one-out mAP on a class folder, or the ten nearest images on other folders."""
    if task := classes_in(folder):
        maps = [task.evaluate(model).scores[ALL]["mAP"] for model in (before, after)]
        return Comparison(str(folder), "mAP", *maps)
    agreement = _agreement(before, after, folder)
    return Comparison(str(folder), "agreement", 1.0, agreement)


def classes_in(folder: str | Path) -> ClassFolder | None:
    """Return a folder's classes, None without subfolders; ValueError if they are no classes."""
    has_folders = any("/" in name for name in list_images(folder).names)
    return ClassFolder.find(folder) if has_folders else None


def _agreement(before: ImageEmbedder, after: ImageEmbedder, folder: str | Path) -> float:
    listed = list_images(folder)
    paths = dict(zip(listed.names, listed, strict=True))
    nearest = []
    for model in (before, after):
        collection = describe_files(model, paths, listed.folder)
        if len(collection) < 2:
            raise ValueError(
                f"{str(folder)!r} has only one image that can be read; give at least two."
            )
        descriptors = collection.in_order(sorted(collection.names))
        nearest.append(exact_search(descriptors, True)(descriptors, NEIGHBOURS)[1])
    shared = [np.isin(old, new).mean() for old, new in zip(*nearest, strict=True)]
    return float(np.mean(shared))

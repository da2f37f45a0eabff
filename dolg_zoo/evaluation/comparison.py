"""The loss of a model in another form, measured on folders of images."""

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
"""For folders without classes. On two sets of class folders, forms of the embedded preset in int8
that lost up to 0.007 of mAP kept 0.85 to 0.97 of the ten nearest, most of which are no picture of
the same thing. The bound lies a little below what those kept."""


@dataclass(frozen=True)
class Comparison:
    """A folder's scores before and after a change of the model."""

    folder: str
    measure: str  # "mAP", or "agreement" of the ten nearest without classes
    before: float  # of the model; 1 for an agreement
    after: float  # of its other form

    def __str__(self) -> str:
        before, after = percent(self.before), percent(self.after)
        return f"{self.measure} on {self.folder} {before} before, {after} after"

    def is_worse(self, max_loss: float) -> bool:
        """Return whether the loss is above the limit; an agreement's limit is `MIN_AGREEMENT`."""
        if self.measure == "agreement":
            return not self.after >= MIN_AGREEMENT
        return not self.before - self.after <= max_loss


def compare(before: ImageEmbedder, after: ImageEmbedder, folder: str | Path) -> Comparison:
    """Compare leave-one-out mAP on class folders, or else the ten nearest images."""
    if task := classes_in(folder):
        maps = [task.evaluate(model).scores[ALL]["mAP"] for model in (before, after)]
        return Comparison(str(folder), "mAP", *maps)
    agreement = _agreement(before, after, folder)
    return Comparison(str(folder), "agreement", 1.0, agreement)


def classes_in(folder: str | Path) -> ClassFolder | None:
    """Return the classes of a folder; None if no image is in a subfolder; ValueError if unclear."""
    has_folders = any("/" in name for name in list_images(folder).names)
    return ClassFolder.find(folder) if has_folders else None


def _agreement(before: ImageEmbedder, after: ImageEmbedder, folder: str | Path) -> float:
    listed = list_images(folder)
    paths = dict(zip(listed.names, listed, strict=True))
    nearest = []
    for model in (before, after):
        collection = describe_files(model, paths, listed.folder)
        if len(collection) < 2:
            raise ValueError(f"{str(folder)!r} has one image that can be read: nothing to find.")
        descriptors = collection.in_order(sorted(collection.names))
        nearest.append(exact_search(descriptors, True)(descriptors, NEIGHBOURS)[1])
    shared = [np.isin(one, other).mean() for one, other in zip(*nearest, strict=True)]
    return float(np.mean(shared))

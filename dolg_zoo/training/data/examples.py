"""Labelled images that are not decoded yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dolg_zoo._util.arguments import label_array
from dolg_zoo.errors import DataError


@dataclass(frozen=True, eq=False)
class Examples:
    """Labelled images that are not decoded yet.

    Attributes:
        sources: image files, or encoded images held in memory; any sequence.
        labels: (images,) int32, the class of each image, from 0 to num_classes - 1. A class may
            have no image.
        class_names: names of the classes.

    Raises:
        DataError: if the labels do not fit the images or the names.
    """

    sources: Sequence[Path | bytes]
    labels: np.ndarray
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check the labels."""
        labels = label_array(self.labels)
        if labels.shape != (len(self.sources),) or not np.issubdtype(labels.dtype, np.integer):
            raise DataError(
                f"Each of the {len(self.sources)} images needs one whole number as its label, got"
                f" an array of shape {labels.shape}, {labels.dtype}."
            )
        wrong = np.flatnonzero((labels < 0) | (labels >= self.num_classes))
        if len(wrong):
            raise DataError(
                f"Label {labels[wrong[0]]} of {self.name(wrong[0])} is not from 0 to"
                f" {self.num_classes - 1}, as {self.num_classes} classes need; {len(wrong)} of"
                f" {len(labels)} labels are not. (A label of -1 often means an unknown class.)"
            )
        object.__setattr__(self, "labels", labels.astype(np.int32))

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.sources)

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    @property
    def counts(self) -> np.ndarray:
        """(num_classes,), the number of images of each class."""
        return np.bincount(self.labels, minlength=self.num_classes)

    @property
    def lone_classes(self) -> int:
        """Return the number of classes with a single image."""
        return int(np.count_nonzero(self.counts == 1))

    def name(self, index: int) -> str:
        """Return the name of an image for messages: its path, or its index if it is in memory."""
        source = self.sources[index]
        return f"image {index} in memory" if isinstance(source, bytes) else str(source)

    def subset(self, indices: np.ndarray, relabel: bool = False) -> Examples:
        """Return some of the images.

        Args:
            indices: indices of the images, in the wanted order.
            relabel: whether to remove classes without an image and renumber the others in the same
                order.
        """
        indices = np.asarray(indices, np.int64)
        labels, names = self.labels[indices], self.class_names
        if relabel:
            present, labels = np.unique(labels, return_inverse=True)
            names = tuple(names[label] for label in present)
        return Examples(_Chosen(self.sources, indices), labels, names)


class _Chosen(Sequence[Any]):
    # a list would build millions of paths before they are needed
    def __init__(self, sources: Sequence[Path | bytes], indices: np.ndarray) -> None:
        self._sources = sources
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: Any) -> Any:  # a path or bytes
        return self._sources[self._indices[index]]

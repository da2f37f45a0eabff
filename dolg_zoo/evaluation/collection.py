"""Descriptors with the names of their images, in memory a part at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dolg_zoo.embedders.fingerprint import name_of_model
from dolg_zoo.preprocessing import Crop
from dolg_zoo.retrieval import DescriptorStore
from dolg_zoo.retrieval.extraction.descriptor_cache import describe_files

if TYPE_CHECKING:
    from dolg_zoo.embedders.base import ImageEmbedder


@dataclass(frozen=True)
class Collection:
    """Descriptors and the names of their images.

    Attributes:
        names: names of the images.
        dim: dimension of a descriptor.
        parts: gives the descriptors in the order of the names: parts (rows, dim), float32.
    """

    names: list[str]
    dim: int
    parts: Callable[[], Iterator[np.ndarray]]

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def of_store(cls, store: DescriptorStore) -> Collection:
        """Return the descriptors of a store, under its ids."""
        return cls(store.ids(), store.dim, lambda: (rows for _, rows in store.parts()))

    def only(self, keep: np.ndarray) -> Collection:
        """Those images for which `keep`, (images,) bool, is true."""

        def parts() -> Iterator[np.ndarray]:
            start = 0
            for rows in self.parts():
                yield rows[keep[start : start + len(rows)]]
                start += len(rows)

        names = [name for name, kept in zip(self.names, keep, strict=True) if kept]
        return Collection(names, self.dim, parts)

    def read(self, *more: Collection) -> np.ndarray:
        """All descriptors, those of more collections behind them: (images, dim) float32."""
        collections = (self, *more)
        everything = np.empty((sum(map(len, collections)), self.dim), np.float32)
        start = 0
        for collection in collections:
            for rows in collection.parts():
                everything[start : start + len(rows)] = rows
                start += len(rows)
        return everything

    def of(self, names: Sequence[str]) -> np.ndarray:
        """Return the descriptors of some images, by name: (len(names), dim).

        Raises:
            KeyError: if there is no image of such a name.
        """
        row_of = {name: number for number, name in enumerate(self.names)}
        return self.read()[[row_of[name] for name in names]]


def embedded(
    model: ImageEmbedder,
    images: Mapping[str, Path | Crop],
    folder: str | Path,
    scales: Sequence[float] | None = None,
    progress: bool = True,
) -> tuple[Collection, dict[str, str]]:
    """Return the descriptors of image files, in the cache that search uses too.

    Args:
        model: the model to embed with.
        images: name to file, or to the part of it in a box.
        folder: the folder of the files.
        scales: multiples of the image size; None for those of the preset.
        progress: whether to show a progress bar on a terminal if it takes long.

    Returns:
        The descriptors, and name to reason for the images that could not be embedded.

    Raises:
        ValueError: if no image can be embedded.
    """
    found = describe_files(model, images, folder, scales=scales, progress=progress)
    if not found.names:
        name, reason = next(iter(found.skipped.items()))
        raise ValueError(f"No image can be embedded; the first, {name!r}: {reason}.")
    return Collection(found.names, model.descriptor_dim, found.parts), found.skipped


def open_descriptors(
    folder: str | Path, model: ImageEmbedder | None, scales: Sequence[float] | None = None
) -> DescriptorStore:
    """Open a store that is to be compared with what a model gives.

    Args:
        folder: the folder of the store.
        model: the model; None to take any store.
        scales: at which it embeds; None for the model's own.

    Raises:
        StoreError: if the store is of another model, dimension or scales; names both.
        OSError: if there is none, or it cannot be read.
    """
    store = DescriptorStore.open(folder)
    if model is not None:
        wanted = replace(
            store.settings,
            model_id=model.model_id,
            model_name=name_of_model(model),
            dim=model.descriptor_dim,
            scales=model.image_converter.scales_or_own(scales),
        )
        store.settings.check_same(wanted, store.folder)
    return store

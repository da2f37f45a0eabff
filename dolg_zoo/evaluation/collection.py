"""Descriptors with the names of their images, in memory a part at a time."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from dolg_zoo.embedders.fingerprint import name_of_model
from dolg_zoo.errors import StoreError
from dolg_zoo.preprocessing import Crop
from dolg_zoo.retrieval import DescriptorStore, extract
from dolg_zoo.retrieval.extraction.folder_cache import cache_file, key_of

if TYPE_CHECKING:
    from dolg_zoo.embedders.base import ImageEmbedder
    from dolg_zoo.retrieval.extraction.sources import Source


@dataclass(frozen=True)
class Collection:
    """Descriptors and the names of their images.

    Attributes:
        names: of the images.
        dim: length of a descriptor.
        parts: gives the descriptors in the order of the names: parts (rows, dim), float32.
    """

    names: list[str]
    dim: int
    parts: Callable[[], Iterator[np.ndarray]]

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def of_store(cls, store: DescriptorStore) -> Collection:
        """What is in a store, under its ids."""
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
        """The descriptors of some images, by name: (len(names), dim).

        Raises:
            KeyError: if there is no image of such a name.
        """
        place = {name: number for number, name in enumerate(self.names)}
        return self.read()[[place[name] for name in names]]


def embedded(
    model: ImageEmbedder,
    images: Mapping[str, Path | Crop],
    folder: str | Path,
    scales: Sequence[float] | None = None,
    progress: bool = True,
) -> tuple[Collection, dict[str, str]]:
    """The descriptors of image files, each embedded once for all evaluations.

    They are kept in a store in the user's cache folder, those of an image until its size or time
    changes. An interrupted call goes on where it was a minute before, at worst.

    Args:
        model: what to embed with.
        images: name to file, or to the part of it in a box.
        folder: that the files are of; what belongs together has the same.
        scales: multiples of the image size; None for those of the preset.
        progress: whether to draw a progress bar on a terminal if it takes long.

    Returns:
        The descriptors, and name to reason for the images that could not be embedded.

    Raises:
        OSError: if there is no cache folder, or it cannot be written.
        ValueError: if no image can be embedded.
    """
    scales = tuple(model.image_converter.scales if scales is None else scales)
    names = {_key(name, image): name for name, image in images.items()}
    file = cache_file(Path(folder), model.model_id, scales)
    if file is None:
        raise FileNotFoundError(
            "There is no folder to keep the descriptors in; name one with DOLG_ZOO_CACHE."
        )
    # it has all that embedding in this process asks of a source
    source = cast("Source", _Images({key: images[name] for key, name in names.items()}))
    place = file.with_suffix(".store")
    fill = partial(extract, model, source, place, scales=scales, progress=progress, repair=True)
    try:
        report = fill()
    except StoreError:  # beyond repair, and ours to make anew
        shutil.rmtree(place)
        report = fill()
    kept = Collection.of_store(report.store)
    collection = kept.only(np.array([key in names for key in kept.names], bool))
    if not len(collection):
        name, reason = next(iter(report.skipped.items()))
        raise ValueError(f"No image can be embedded; the first, {names[name]!r}: {reason}.")
    skipped = {names[key]: reason for key, reason in report.skipped.items()}
    return replace(collection, names=[names[key] for key in collection.names]), skipped


def _key(name: str, image: Path | Crop) -> str:
    path, box = (image.source, image.box) if isinstance(image, Crop) else (image, "")
    return "\t".join(map(str, (*key_of(cast("Path", path), name), box)))


@dataclass(frozen=True)
class _Images:
    """Image files by id, as `extract` takes them."""

    by_id: Mapping[str, Path | Crop]
    faults: Mapping[str, str] = field(default_factory=dict)

    def missing(self, known: Container[str]) -> int:
        return sum(image not in known for image in self.by_id)

    def items(self, known: Container[str] = ()) -> Iterator[tuple[str, Path | Crop]]:
        return ((image, source) for image, source in self.by_id.items() if image not in known)


def open_descriptors(
    folder: str | Path, model: ImageEmbedder | None, scales: Sequence[float] | None = None
) -> DescriptorStore:
    """Opens a store that is to be compared with what a model gives.

    Args:
        folder: of the store.
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
            scales=tuple(model.image_converter.scales if scales is None else scales),
        )
        store.settings.check_same(wanted, store.folder)
    return store

"""The images of a task, and their descriptors, in memory a part at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dolg_zoo.embedders.fingerprint import name_of_model
from dolg_zoo.preprocessing import Crop, list_images
from dolg_zoo.retrieval import DescriptorStore
from dolg_zoo.retrieval.extraction.descriptor_cache import describe_files

if TYPE_CHECKING:
    from dolg_zoo.embedders.base import ImageEmbedder


@dataclass(frozen=True)
class Collection:
    """Descriptors and the names of their images."""

    names: list[str]
    dim: int  # dimension of a descriptor
    parts: Callable[[], Iterator[np.ndarray]]  # yields (rows, dim) float32, in the order of `names`

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def of_store(cls, store: DescriptorStore) -> Collection:
        """Return the descriptors of a store, under its ids."""
        return cls(store.ids(), store.dim, lambda: (rows for _, rows in store.parts()))

    def only(self, keep: np.ndarray) -> Collection:
        """Return the images for which `keep`, (images,) bool, is true."""

        def parts() -> Iterator[np.ndarray]:
            start = 0
            for rows in self.parts():
                yield rows[keep[start : start + len(rows)]]
                start += len(rows)

        names = [name for name, kept in zip(self.names, keep, strict=True) if kept]
        return Collection(names, self.dim, parts)

    def read(self, *more: Collection) -> np.ndarray:
        """Return all descriptors, then those of more collections: (images, dim) float32."""
        collections = (self, *more)
        everything = np.empty((sum(map(len, collections)), self.dim), np.float32)
        start = 0
        for collection in collections:
            for rows in collection.parts():
                everything[start : start + len(rows)] = rows
                start += len(rows)
        return everything

    def of(self, names: Sequence[str]) -> np.ndarray:
        """Return the descriptors (len(names), dim) of named images, or raise KeyError."""
        row_of = {name: number for number, name in enumerate(self.names)}
        return self.read()[[row_of[name] for name in names]]


def embedded(
    model: ImageEmbedder,
    images: Mapping[str, Path | Crop],
    folder: str | Path,
    scales: Sequence[float] | None = None,
    progress: bool = True,
) -> tuple[Collection, dict[str, str]]:
    """Return the descriptors of image files, through the cache, and name to reason for failures."""
    # `images` maps names to files or boxes in files; a ValueError says that no image can be
    # embedded
    found = describe_files(model, images, folder, scales=scales, progress=progress)
    if not found.names:
        name, reason = next(iter(found.skipped.items()))
        raise ValueError(f"No image can be embedded; the first, {name!r}: {reason}.")
    return Collection(found.names, model.descriptor_dim, found.parts), found.skipped


def open_descriptors(
    folder: str | Path, model: ImageEmbedder | None, scales: Sequence[float] | None = None
) -> DescriptorStore:
    """Open a store; raise StoreError if its model, dimension or scales are not the model's."""
    # without a model, any store is taken; without scales, the model's own are expected
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


def find_images(folder: str | Path, names: Sequence[str]) -> tuple[dict[str, Path], list[Path]]:
    """Find named images below a folder, with any suffix; return their paths and other images."""
    # A FileNotFoundError names up to five missing images; a ValueError says that a name has two
    # files.
    wanted, extra = set(names), []
    paths: dict[str, Path] = {}
    for path in list_images(folder):
        if path.stem not in wanted:
            extra.append(path)
        elif paths.setdefault(path.stem, path) != path:
            raise ValueError(
                f"{path.stem!r} could be {str(paths[path.stem])!r} or {str(path)!r}; remove one."
            )
    missing = [name for name in dict.fromkeys(names) if name not in paths]
    check_complete(missing, len(wanted), folder)
    return paths, extra


def check_complete(missing: Sequence[str], needed: int, folder: str | Path) -> None:
    """Raise FileNotFoundError if any of the needed images is missing; it names up to five."""
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {needed} images are not in {str(folder)!r}: {some(missing)}."
        )


def some(names: Iterable[object]) -> str:
    """Return up to five of some names, for a message."""
    texts = [str(name) for name in names]
    return ", ".join(texts[:5]) + (", …" if len(texts) > 5 else "")

"""The cache of a folder's descriptors: a store that search, evaluation and all others share.

An image is known by its path, its size in bytes and the time of its last change; a folder that was
renamed keeps its cache. Nothing here can make a search fail: a damaged cache is rebuilt, and one
that cannot be written costs a warning.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from dolg_zoo import __version__
from dolg_zoo._util.cache_folder import cache_folder
from dolg_zoo._util.files import user_path
from dolg_zoo.embedders.fingerprint import name_of_model
from dolg_zoo.errors import StoreError
from dolg_zoo.preprocessing import Crop
from dolg_zoo.retrieval.extraction.extract import fill
from dolg_zoo.retrieval.extraction.sources import Source
from dolg_zoo.retrieval.extraction.store import DescriptorStore
from dolg_zoo.retrieval.extraction.store.manifest import MANIFEST

if TYPE_CHECKING:
    from dolg_zoo.embedders.base import ImageEmbedder

logger = logging.getLogger(__name__)

ROWS = 2**16
SPARE = 100
"""A cache is searched for outdated descriptors if more than these and half of all are not used."""

FILES = 64
"""A cache of more files is rewritten in fewer."""


@dataclass(frozen=True)
class FolderDescriptors:
    """The descriptors of a folder's images.

    Attributes:
        names: the names of the images, in the order of `parts`.
        parts: yields the descriptors: parts (rows, dim), float32.
        skipped: the names of the images without a descriptor, each with the reason.
        reused: the number of descriptors from the cache.
    """

    names: list[str]
    parts: Callable[[], Iterator[np.ndarray]]
    skipped: dict[str, str]
    reused: int


def describe_files(
    model: ImageEmbedder,
    images: Mapping[str, Path | Crop],
    folder: str | Path,
    *,
    scales: Sequence[float] | None = None,
    batch_size: int = 16,
    progress: bool = True,
    cache: bool = True,
) -> FolderDescriptors:
    """Embed image files, each once for all uses.

    An interrupted call goes on where it was a minute before, at worst.

    Args:
        model: the model to embed with.
        images: name to file, or to the part of it in a box.
        folder: the folder that the cache is for; the same images are cached once a folder.
        scales: multiples of the image size; None for those of the preset.
        batch_size: images per batch.
        progress: whether to show a progress bar on a terminal if it takes long.
        cache: whether to use the cache.
    """
    folder = user_path(folder)
    scales = model.image_converter.scales_or_own(scales)
    names: dict[str, list[str]] = {}  # two of them may be of one image
    by_id: dict[str, Path | Crop] = {}
    for name, image in images.items():
        id = _id_of(image, folder)
        names.setdefault(id, []).append(name)
        by_id[id] = image
    store = _Cache(_open_store(folder, model, scales, names.keys()) if cache else None)
    reused = sum(len(names[id]) for id in names if id in store)
    store.tidy(folder, reused)
    report = fill(
        store,
        model,
        # it has all that embedding in this process asks of a source
        cast("Source", _Images(by_id)),
        batch_size=batch_size,
        scales=scales,
        progress=progress,
        images=os.path.abspath(folder),  # noqa: PTH100
    )

    def parts() -> Iterator[np.ndarray]:
        for ids, rows in store.parts():
            wanted = [row for row, id in enumerate(ids) for _ in names.get(id, ())]
            if wanted:
                yield rows[wanted]

    return FolderDescriptors(
        [name for id in store.ids() for name in names.get(id, ())],
        parts,
        {name: reason for id, reason in report.skipped.items() for name in names[id]},
        reused,
    )


class _Cache:
    """A store, and the memory for what cannot be written to it."""

    def __init__(self, store: DescriptorStore | None) -> None:
        self._store = store
        self.folder = None if store is None else store.folder
        self._unwritten: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._unwritten) + (len(self._store) if self._store is not None else 0)

    def __contains__(self, id: object) -> bool:
        return id in self._unwritten or (self._store is not None and id in self._store)

    def ids(self) -> list[str]:
        return [*(self._store.ids() if self._store is not None else ()), *self._unwritten]

    def parts(self) -> Iterator[tuple[list[str], np.ndarray]]:
        if self._store is not None:
            yield from self._store.parts()
        ids = [*self._unwritten]
        for start in range(0, len(ids), ROWS):
            some = ids[start : start + ROWS]
            yield some, np.stack([self._unwritten[id] for id in some])

    def append(
        self, ids: Sequence[str], descriptors: np.ndarray, images: str | None = None
    ) -> None:
        rows = dict(zip(ids, descriptors, strict=True))
        while self._store is not None and rows and not self._unwritten:
            try:
                self._store.append([*rows], np.stack([*rows.values()]), images)
                return
            except (StoreError, OSError) as error:
                # another process has just added some of them; or the disk is full, for instance
                missing = {id: row for id, row in rows.items() if id not in self._store}
                if len(missing) == len(rows):
                    _warn(error)
                    break
                rows = missing
        self._unwritten.update(rows)

    def tidy(self, folder: Path, used: int) -> None:
        """Make the store smaller if most of it is of images that are gone or have changed."""
        if self._store is None:
            return
        many = self._store.file_count > FILES
        if many or len(self._store) > max(2 * used, used + SPARE):
            outdated = {id for id in self._store.ids() if _is_outdated(id, folder)}
            if not many and 2 * len(outdated) <= len(self._store):
                return
            try:
                self._store.drop(outdated)
            except OSError as error:
                logger.info("%s keeps outdated descriptors: %s", self._store.folder, error)


@dataclass(frozen=True)
class _Images:
    """Image files by id, as `fill` takes them."""

    by_id: Mapping[str, Path | Crop]
    faults: Mapping[str, str] = field(default_factory=dict)

    def missing(self, known: Container[str]) -> int:
        return sum(id not in known for id in self.by_id)

    def items(self, known: Container[str] = ()) -> Iterator[tuple[str, Path | Crop]]:
        return ((id, image) for id, image in self.by_id.items() if id not in known)


def _open_store(
    folder: Path, model: ImageEmbedder, scales: tuple[float, ...], ids: Collection[str]
) -> DescriptorStore | None:
    if (parent := cache_folder()) is None:
        _warn("there is no home folder")
        return None
    here = os.path.abspath(folder)  # noqa: PTH100
    store_folder = parent / "descriptors" / _name_of_cache(here, model, scales)

    def create() -> DescriptorStore:
        return DescriptorStore.create(
            store_folder,
            model_id=model.model_id,
            model_name=name_of_model(model),
            dim=model.descriptor_dim,
            scales=scales,
        )

    try:
        try:
            if not store_folder.exists():
                _take_over(store_folder, here, model, scales, ids)
            store = create()
            store.forget_damaged()
            store.ids()
        except StoreError as error:
            logger.info("%s is rebuilt: %s", store_folder, error)
            shutil.rmtree(store_folder)
            store = create()
        return store
    except OSError as error:
        _warn(error)
        return None


def _name_of_cache(folder: str, model: ImageEmbedder, scales: tuple[float, ...]) -> str:
    # another version of dolg-zoo may decode or resize otherwise
    parts = (folder, model.model_id, repr(scales), __version__)
    return hashlib.sha256(os.fsencode("\0".join(parts))).hexdigest()[:32]


def _take_over(
    store_folder: Path,
    here: str,
    model: ImageEmbedder,
    scales: tuple[float, ...],
    ids: Collection[str],
) -> None:
    """Give a folder that was renamed or moved the cache that it had under its old name."""
    for path in store_folder.parent.glob(f"*/{MANIFEST}"):
        try:
            store = DescriptorStore.open(path.parent)
            (there,) = store.folders_of_images
            if (
                there is not None
                and path.parent.name == _name_of_cache(there, model, scales)
                and not os.path.lexists(there)
                and any(id in store for id in ids)
            ):
                store.move_images(there, here)
                path.parent.rename(store_folder)
                return
        except (StoreError, OSError, ValueError) as error:
            logger.info("%s is not taken over: %s", path.parent, error)


def _id_of(image: Path | Crop, folder: Path) -> str:
    """Path, bytes, time of the last change and box of an image; asked for before it is read."""
    path, box = (image.source, list(image.box)) if isinstance(image, Crop) else (image, None)
    name = os.path.relpath(cast("Path", path), folder).replace(os.sep, "/")
    # JSON has an ASCII text for any file name, and another for any other
    return json.dumps([name, *_state_of(cast("Path", path)), box])


def _state_of(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:  # gone meanwhile; reading it will say so
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _is_outdated(id: str, folder: Path) -> bool:
    try:
        name, *state, _ = json.loads(id)
        return tuple(state) != _state_of(folder / name)
    except (ValueError, TypeError):  # no id that `_id_of` made
        return True


def _warn(reason: object) -> None:
    logger.warning(
        "The descriptors cannot be kept for the next time: %s. DOLG_ZOO_CACHE names the folder to"
        " keep them in.",
        reason,
    )

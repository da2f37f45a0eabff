"""The cache of a folder's descriptors: a store that search, evaluation and other commands share.

A renamed folder keeps its cache. A search never fails because of its cache: a damaged cache is
rebuilt, and a cache that cannot be written gives a warning.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Collection as Container
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from dolg_zoo import __version__
from dolg_zoo._util.cache_folder import cache_folder
from dolg_zoo._util.files import user_path
from dolg_zoo.errors import StoreError
from dolg_zoo.preprocessing import Crop
from dolg_zoo.retrieval.extraction.collection import Collection
from dolg_zoo.retrieval.extraction.extract import fill
from dolg_zoo.retrieval.extraction.identity import Identity, identity_of
from dolg_zoo.retrieval.extraction.sources import Box, Files
from dolg_zoo.retrieval.extraction.store import DescriptorStore, Settings
from dolg_zoo.retrieval.extraction.store.manifest import MANIFEST

if TYPE_CHECKING:
    from dolg_zoo.embedders.base import ImageEmbedder

_log = logging.getLogger(__name__)

ROWS = 2**16
SPARE = 100
"""Unused descriptors are looked for if they are more than this number and more than half."""

TRIED = 10
"""The number of images to compare before a folder takes over the cache of another folder."""

FILES = 64
"""A cache with more files than this is rewritten in fewer files."""


def describe_files(
    model: ImageEmbedder,
    images: Mapping[str, Path | Crop],
    folder: str | Path,
    *,
    scales: Sequence[float] | None = None,
    batch_size: int = 16,
    progress: bool = True,
    cache: bool = True,
) -> Collection:
    """Embed files (name to file or crop) with the folder's cache; raise ValueError if none can."""
    folder = user_path(folder)
    absolute_folder = os.path.abspath(folder)  # noqa: PTH100
    names: dict[str, list[str]] = {}  # two names may share an image
    by_id: dict[str, tuple[str, Box | None]] = {}
    for name, image in images.items():
        path, box = (image.source, image.box) if isinstance(image, Crop) else (image, None)
        # JSON writes each file name as a different ASCII text.
        id = json.dumps([os.path.relpath(cast("Path", path), folder).replace(os.sep, "/"), box])
        names.setdefault(id, []).append(name)
        by_id[id] = os.path.abspath(cast("Path", path)), box  # noqa: PTH100
    paths, boxes = zip(*by_id.values(), strict=True)
    source = Files(folder, [*by_id], paths, boxes)
    store = _open_store(absolute_folder, Settings.of(model, scales), source, cache)
    store.tidy(folder, names.keys())
    report = fill(store, model, source, absolute_folder, batch_size, progress)
    reasons = {name: reason for id, reason in report.skipped.items() for name in names.pop(id)}
    if not names:
        name = next(iter(images))
        raise ValueError(
            f"None of the {len(images)} images in {str(folder)!r} can be read. The first is"
            f" {name!r}: {reasons[name]}."
        )

    def parts() -> Iterator[np.ndarray]:
        for ids, rows in store.parts():
            named_rows = [row for row, id in enumerate(ids) for _ in names.get(id, ())]
            if named_rows:
                yield rows[named_rows]

    identities = store.identities()
    pairs = [(id, name) for id in store.ids() for name in names.get(id, ())]
    return Collection(
        [name for _, name in pairs],
        store.dim,
        parts,
        [str(identities[id]) for id, _ in pairs],
        {name: reasons[name] for name in images if name in reasons},
        sum(id not in report.fresh for id, _ in pairs),
    )


class _Cache(DescriptorStore):
    """A store that keeps descriptors in memory if they cannot be written to it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.unwritten: dict[str, tuple[Identity, np.ndarray]] = {}
        self.is_writable = True

    def identities(self) -> dict[str, Identity]:
        return super().identities() | {id: identity for id, (identity, _) in self.unwritten.items()}

    def ids(self) -> list[str]:
        return [*(id for id in super().ids() if id not in self.unwritten), *self.unwritten]

    def parts(self) -> Iterator[tuple[list[str], np.ndarray]]:
        for ids, rows in super().parts():
            written = [row for row, id in enumerate(ids) if id not in self.unwritten]
            yield [ids[row] for row in written], rows[written]
        ids = [*self.unwritten]
        for start in range(0, len(ids), ROWS):
            block = ids[start : start + ROWS]
            yield block, np.stack([self.unwritten[id][1] for id in block])

    def append(
        self,
        ids: Sequence[str],
        descriptors: np.ndarray,
        images: str | None = None,
        identities: Sequence[Identity] | None = None,
        replace: Container[str] = (),
    ) -> None:
        if self.is_writable:
            try:
                # `ids` may be replaced: another process may have added some of them.
                super().append(ids, descriptors, images, identities, ids)
                return
            except (StoreError, OSError) as error:  # such as a full disk
                _warn(error)
                self.is_writable = False
        assert identities is not None  # `fill` gives all of them
        self.unwritten |= zip(ids, zip(identities, descriptors, strict=True), strict=True)

    def revise(self, *arguments: Any, **options: Any) -> None:
        try:
            if self.is_writable:
                super().revise(*arguments, **options)
        except (StoreError, OSError) as error:
            _log.info("%s keeps outdated descriptors: %s", self.folder, error)

    def tidy(self, folder: Path, used: Container[str]) -> None:
        """Make the store smaller if most of its images are gone or it has too many files."""
        too_many, rows = self.file_count > FILES, len(self)
        unused = self.identities().keys() - used
        if too_many or len(unused) > max(rows // 2, SPARE):
            gone = {id for id in unused if not _exists(id, folder)}
            if too_many or 2 * len(gone) > rows:
                self.revise(gone, regroup=too_many)


def _exists(id: str, folder: Path) -> bool:
    try:
        name, _ = json.loads(id)
        return os.path.lexists(folder / name)
    except (ValueError, TypeError):  # `describe_files` did not make this id
        return False


def _open_store(folder: str, settings: Settings, source: Files, cache: bool) -> _Cache:
    in_memory = _Cache(Path(), settings, [])
    in_memory.is_writable = False
    if not cache:
        return in_memory
    store_folder = cache_folder("descriptors", _name_of_cache(folder, settings))
    if store_folder is None:
        _warn("this user has no home folder")
        return in_memory

    def create() -> _Cache:
        return cast("_Cache", _Cache.create(store_folder, **asdict(settings)))

    try:
        try:
            if not store_folder.exists():
                _take_over(store_folder, folder, settings, source)
            store = create()
            store.forget_damaged()
            store.ids()
        except StoreError as error:
            _log.info("%s is rebuilt: %s", store_folder, error)
            shutil.rmtree(store_folder)
            store = create()
        return store
    except OSError as error:
        _warn(error)
        return in_memory


def _name_of_cache(folder: str, settings: Settings) -> str:
    # Another version of dolg-zoo may decode or resize differently.
    parts = (folder, settings.model_id, repr(settings.scales), __version__)
    return hashlib.sha256(os.fsencode("\0".join(parts))).hexdigest()[:32]


def _take_over(store_folder: Path, folder: str, settings: Settings, source: Files) -> None:
    """Rename the cache of a folder that was renamed or moved."""
    for path in store_folder.parent.glob(f"*/{MANIFEST}"):
        try:
            store = DescriptorStore.open(path.parent)
            (old_folder,) = store.folders_of_images
            if (
                old_folder is not None
                and path.parent.name == _name_of_cache(old_folder, settings)
                and not os.path.lexists(old_folder)
                and _has_image_of(store, source)
            ):
                store.move_images(old_folder, folder)
                path.parent.rename(store_folder)
                return
        except (StoreError, OSError, ValueError) as error:
            _log.info("The cache %s is not taken over: %s", path.parent, error)


def _has_image_of(store: DescriptorStore, source: Files) -> bool:
    """Return whether one of the first ids in both store and source has the same content."""
    identities = store.identities()
    pairs = zip(source.ids, source.names, strict=True)
    shared = ((identities[id], Path(name)) for id, name in pairs if id in identities)
    return any(old.is_content_of(identity_of(path)) for old, path in islice(shared, TRIED))


def _warn(reason: object) -> None:
    _log.warning(
        "The descriptors cannot be cached: %s. Set DOLG_ZOO_CACHE to a folder that can be written.",
        reason,
    )

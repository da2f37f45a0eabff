"""The descriptor store: create, open, append and read."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dolg_zoo._util.files import replacing, user_path
from dolg_zoo._util.hashing import absence_of, fault_in
from dolg_zoo._util.outputs import check_output
from dolg_zoo._util.own_folders import STORE
from dolg_zoo.errors import StoreError
from dolg_zoo.retrieval.extraction.identity import Identity
from dolg_zoo.retrieval.extraction.store import part_file
from dolg_zoo.retrieval.extraction.store.manifest import (
    MANIFEST,
    Part,
    Settings,
    next_name,
    read_manifest,
    write_manifest,
)
from dolg_zoo.retrieval.extraction.store.part_file import Rows

if TYPE_CHECKING:
    from filelock import FileLock

LOCK_TIMEOUT_S = 120
REWRITTEN_ROWS = 2**16


class DescriptorStore:
    """Descriptors with ids in a folder.

    ```python
    store = DescriptorStore.open("descriptors/")
    for ids, descriptors in store.parts():
        ...
    ```

    Made by `create` and `open`.

    Attributes:
        folder: the folder of the store.
        settings: the model and the format of the descriptors; its fields are attributes of the
            store as well: model_id, model_name, dim, dtype and scales.
    """

    def __init__(self, folder: Path, settings: Settings, parts: Sequence[Part]) -> None:
        self.folder = folder
        self.settings = settings
        self._parts = list(parts)
        self._known: dict[str, Identity] = {}
        self._by_part: dict[str, dict[str, Identity]] = {}  # those that are in _known

    model_id = property(lambda self: self.settings.model_id)
    model_name = property(lambda self: self.settings.model_name)
    dim = property(lambda self: self.settings.dim)
    dtype = property(lambda self: self.settings.dtype)
    scales = property(lambda self: self.settings.scales)

    @classmethod
    def create(
        cls,
        folder: str | Path,
        *,
        model_id: str,
        model_name: str,
        dim: int,
        scales: Sequence[float],
        dtype: str = "float32",
    ) -> DescriptorStore:
        """Create a store, or opens an existing one with the same settings.

        Args:
            folder: the folder; it is created if necessary.
            model_id: `fingerprint` of the model.
            model_name: the name of the model, for messages; it may differ from that in the store.
            dim: the dimension of a descriptor.
            scales: the scales at which images are embedded.
            dtype: "float32", or "float16" for half the size and three digits.

        Raises:
            StoreError: if a setting has a wrong type or value or differs from that of the store.
            OutputError: if the folder holds files and no store.
            OSError: if the folder cannot be created or written.
        """
        settings = Settings(model_id, model_name, dim, dtype, tuple(map(float, scales)))
        folder = check_output(folder, STORE)
        if not (folder / MANIFEST).exists():
            folder.mkdir(parents=True, exist_ok=True)
            with _lock(folder):
                if not (folder / MANIFEST).exists():  # else another process has just made it
                    write_manifest(folder, settings, [])
        store = cls.open(folder)
        store.settings.check_same(settings, folder)
        return store

    @classmethod
    def open(cls, folder: str | Path) -> DescriptorStore:
        """Open a store. No name in it leads out of the folder, and nothing is executed.

        Raises:
            FileNotFoundError: if there is no store.
            StoreError: if `store.json` is not valid; the message says why.
        """
        folder = user_path(folder)
        if not (folder / MANIFEST).is_file():
            raise FileNotFoundError(
                f"There is no store of descriptors in {str(folder)!r}: no file {MANIFEST}. `dolg"
                " embed … -o DIR` makes one."
            )
        return cls(folder, *read_manifest(folder))

    def __len__(self) -> int:
        return sum(part.rows for part in self._parts)

    @property
    def file_count(self) -> int:
        """The number of files that hold the descriptors."""
        return len(self._parts)

    @property
    def folders_of_images(self) -> set[str | None]:
        """The folders that the ids are relative to; None where that was not recorded."""
        return {part.images for part in self._parts}

    def append(
        self,
        ids: Sequence[str],
        descriptors: np.ndarray,
        images: str | None = None,
        identities: Sequence[Identity] | None = None,
        replace: Collection[str] = (),
    ) -> None:
        """Add descriptors in one file, which is on the disk when this returns.

        Args:
            ids: ids of the images, none of which is in the store.
            descriptors: (len(ids), dim), finite.
            images: the folder that the ids are relative to; None if there is none.
            identities: the record of each image, by which a changed one is noticed; None if there
                is none.
            replace: those of the ids that may be in the store, and are replaced there.

        Raises:
            StoreError: if an id is not a text, is empty or is in the store, or the descriptors
                are not finite or have another shape; nothing is written then.
            OSError: if the file cannot be written; the store is unchanged then.
        """
        ids = list(ids)
        rows = self._checked_rows(ids, descriptors)
        if not ids:
            return
        with _lock(self.folder):
            self._refresh()
            self._check_new(ids, replace)
            records = identities or [Identity.parse(None, time.time_ns())] * len(ids)
            old = self._parts_with(replace)
            self._rewrite(old, replace, {}, [(Rows(ids, records, rows), images)])

    def __contains__(self, image: object) -> bool:
        self._learn_ids()
        return image in self._known

    def identities(self) -> dict[str, Identity]:
        """Return the record of each image, by its id.

        Raises:
            StoreError: if a part is missing or damaged.
        """
        self._learn_ids()
        return dict(self._known)

    def ids(self) -> list[str]:
        """Return the ids of all images, in the order they were added.

        Raises:
            StoreError: if a part is missing or damaged.
        """
        self._learn_ids()
        ids = [name for part in self._parts for name in self._by_part[part.file]]
        self._check_unique(ids)
        return ids

    def parts(self) -> Iterator[tuple[list[str], np.ndarray]]:
        """Yield the ids and descriptors, (rows, dim) float32, of one file at a time.

        Raises:
            StoreError: if a part is missing or damaged.
        """
        for part in tuple(self._parts):
            rows = self._read_part(part)
            yield rows.ids, rows.descriptors

    def read(self) -> tuple[list[str], np.ndarray]:
        """Return the ids and descriptors of all images, (images, dim) float32.

        Raises:
            StoreError: if a part is missing or damaged.
        """
        for part in self._parts:  # before memory is taken for what store.json promises
            self._check_size(part)
        ids: list[str] = []
        descriptors = np.empty((len(self), self.dim), np.float32)
        for names, rows in self.parts():
            descriptors[len(ids) : len(ids) + len(rows)] = rows
            ids += names
        self._check_unique(ids)
        return ids, descriptors

    def ids_by_folder(self) -> Iterator[tuple[str | None, list[str]]]:
        """Yield the folder of the images of each file, None if it was not recorded, and their ids.

        Raises:
            StoreError: if a part is missing or damaged.
        """
        self._learn_ids()
        for part in self._parts:
            yield part.images, [*self._by_part[part.file]]

    def move_images(self, old: str, new: str) -> None:
        """Record that the images of one folder are in another now.

        Raises:
            OSError: if the store cannot be written; it is unchanged then.
        """
        with _lock(self.folder):
            self._refresh()
            self._write_manifest(
                [replace(part, images=new) if part.images == old else part for part in self._parts]
            )

    def forget_damaged(self) -> dict[str, int]:
        """Drop the parts that are missing or damaged, so that their images can be added again.

        Returns:
            The names of their files, and how many images were in each.

        Raises:
            OSError: if the store cannot be written.
        """
        self._by_part, self._known = {}, {}
        if not self._damaged_parts():
            return {}
        with _lock(self.folder):
            self._refresh()
            damaged = self._damaged_parts()
            self._write_manifest([part for part in self._parts if part.file not in damaged])
            for name in damaged:
                (self.folder / name).unlink(missing_ok=True)
        return damaged

    def revise(
        self,
        drop: Collection[str] = (),
        identities: Mapping[str, Identity] | None = None,
        regroup: bool = False,
    ) -> None:
        """Drop images and renew the records of others; the files with them are written anew.

        What another process reads of the store meanwhile may be missing.

        Args:
            drop: ids of the images to drop.
            identities: id to the record of its image.
            regroup: whether all files are written anew, `REWRITTEN_ROWS` in each.

        Raises:
            StoreError: if a part is missing or damaged.
            OSError: if the store cannot be written; it is unchanged then.
        """
        identities = identities or {}
        with _lock(self.folder):
            self._refresh()
            old = self._parts if regroup else self._parts_with({*drop, *identities})
            if old:
                self._rewrite(list(old), drop, identities)

    def _parts_with(self, ids: Collection[str]) -> list[Part]:
        self._learn_ids()
        return [part for part in self._parts if not self._by_part[part.file].keys().isdisjoint(ids)]

    def _rewrite(
        self,
        old: Collection[Part],
        drop: Container[str],
        identities: Mapping[str, Identity],
        more: Sequence[tuple[Rows, str | None]] = (),
    ) -> None:
        """Put new parts in the place of old ones, and a part of further rows behind them."""
        written: dict[Part, Rows] = {}
        regrouped = (
            (rows, images)
            for images in dict.fromkeys(part.images for part in old)
            for rows in self._regrouped([p for p in old if p.images == images], drop, identities)
        )
        for rows, images in chain(regrouped, more):
            part = self._write_part(next_name([*self._parts, *written]), rows, images)
            written[part] = rows._replace(descriptors=rows.descriptors[:0])
        self._write_manifest([*(part for part in self._parts if part not in old), *written])
        for part in old:
            for id in self._by_part.pop(part.file, ()):
                self._known.pop(id, None)
            (self.folder / part.file).unlink(missing_ok=True)
        for part, rows in written.items():
            self._learn(part, rows)

    def _regrouped(
        self, parts: Sequence[Part], drop: Container[str], identities: Mapping[str, Identity]
    ) -> Iterator[Rows]:
        held: list[Rows] = []
        for part in parts:
            held.append(self._read_part(part).changed(drop, identities))
            if sum(len(rows.ids) for rows in held) >= REWRITTEN_ROWS:
                yield Rows.joined(held)
                held = []
        if any(rows.ids for rows in held):
            yield Rows.joined(held)

    def _damaged_parts(self) -> dict[str, int]:
        """Return the files of the damaged parts, and how many images were in each."""
        damaged = {}
        for part in self._parts:
            try:
                self._learn(part, self._read_part(part))
            except StoreError:
                damaged[part.file] = part.rows
        return damaged

    def _write_part(self, name: str, rows: Rows, images: str | None) -> Part:
        data = part_file.encode(rows, self.dtype)
        with replacing(self.folder / name) as file:
            file.write(data)
        return Part(name, len(rows.ids), len(data), hashlib.sha256(data).hexdigest(), images)

    def _checked_rows(self, ids: list[str], descriptors: np.ndarray) -> np.ndarray:
        descriptors = np.asarray(descriptors)
        if descriptors.shape != (len(ids), self.dim) or descriptors.dtype.kind not in "fiu":
            raise StoreError(
                f"The descriptors of {len(ids)} images must be numbers of shape"
                f" {(len(ids), self.dim)}, not {descriptors.dtype} of {descriptors.shape}."
            )
        with np.errstate(over="ignore"):  # found by the next check
            rows = descriptors.astype(self.dtype)
        finite = np.isfinite(rows).all(axis=1)
        if not finite.all():
            raise StoreError(
                f"The descriptor of {ids[np.argmin(finite)]!r} is not finite in {self.dtype}; the"
                f" weights or the dtype of {self.model_name!r} are at fault."
            )
        return rows

    def _check_new(self, ids: list[str], replace: Container[str]) -> None:
        self._learn_ids()
        fresh: set[str] = set()
        for name in ids:
            if fault := part_file.fault_in_id(name):
                raise StoreError(f"The id {name!r} {fault}.")
            if (name in self._known and name not in replace) or name in fresh:
                raise StoreError(
                    f"The id {name!r} is in the store {str(self.folder)!r} already; an image is"
                    " added once. Is another process adding the same images?"
                )
            fresh.add(name)

    def _check_unique(self, ids: list[str]) -> None:
        if len(set(ids)) < len(ids):
            twice = next(name for name, count in Counter(ids).items() if count > 1)
            raise StoreError(
                f"{str(self.folder)!r} has the id {twice!r} more than once; dolg-zoo writes no such"
                " store. Make it again."
            )

    def _learn_ids(self) -> None:
        for part in self._parts:
            if part.file not in self._by_part:
                self._learn(part, self._read_part(part, False))

    def _learn(self, part: Part, rows: Rows) -> None:
        self._check_unique(rows.ids)
        self._by_part[part.file] = dict(zip(rows.ids, rows.identities, strict=True))
        self._known |= self._by_part[part.file]

    def _check_size(self, part: Part) -> Path:
        path = self.folder / part.file
        if fault := absence_of(path, part.bytes):
            raise self._damaged(part, fault)
        return path

    def _read_part(self, part: Part, with_descriptors: bool = True) -> Rows:
        path = self._check_size(part)
        data = path.read_bytes()
        if fault := fault_in(data, part.sha256):
            raise self._damaged(part, fault)
        try:
            return part_file.decode(
                data, part.rows, self.dim, self.dtype, path.stat().st_mtime_ns, with_descriptors
            )
        except ValueError as error:
            raise self._damaged(part, f"dolg-zoo wrote no such file: {error}") from error

    def _damaged(self, part: Part, fault: str) -> StoreError:
        return StoreError(
            f"{str(self.folder / part.file)!r} is damaged: {fault}. Put it back from a copy, or"
            f" run `dolg embed … --repair`, which forgets its {part.rows} images and embeds them"
            " again."
        )

    def _refresh(self) -> None:
        """Read the parts that other processes have added."""
        settings, self._parts = read_manifest(self.folder)
        self.settings.check_same(settings, self.folder)

    def _write_manifest(self, parts: list[Part]) -> None:
        write_manifest(self.folder, self.settings, parts)
        self._parts = parts


def _lock(folder: Path) -> FileLock:
    from filelock import FileLock

    return FileLock(folder / ".lock", timeout=LOCK_TIMEOUT_S)

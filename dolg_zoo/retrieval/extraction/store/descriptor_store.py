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

    `create` and `open` return one.

    Attributes:
        folder: the folder of the store.
        settings: the model and the format of the descriptors. The store has its fields as
            attributes too: model_id, model_name, dim, dtype and scales.
    """

    def __init__(self, folder: Path, settings: Settings, parts: Sequence[Part]) -> None:
        self.folder = folder
        self.settings = settings
        self._parts = list(parts)
        self._known: dict[str, Identity] = {}
        self._by_part: dict[str, dict[str, Identity]] = {}  # the same records, by file name

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
        """Create a store, or open an existing one with the same settings.

        Args:
            folder: the folder; it is created if necessary.
            model_id: `fingerprint` of the model.
            model_name: the name of the model, for messages; the store may have another name.
            dim: the dimension of a descriptor.
            scales: the scales at which images are embedded.
            dtype: "float32", or "float16" for half the size and three digits.

        Raises:
            StoreError: if a setting has a wrong type or value, or the store has another value.
            OutputError: if the folder holds files but no store.
            OSError: if the folder cannot be created or written.
        """
        settings = Settings(model_id, model_name, dim, dtype, tuple(map(float, scales)))
        folder = check_output(folder, STORE)
        if not (folder / MANIFEST).exists():
            folder.mkdir(parents=True, exist_ok=True)
            with _lock(folder):
                if not (folder / MANIFEST).exists():  # another process may have just made it
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
                f"There is no store of descriptors in {str(folder)!r}: no file {MANIFEST}. Make one"
                " with `dolg embed … -o DIR`."
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
        """The folders that the ids are relative to; None if the folder was not recorded."""
        return {part.images for part in self._parts}

    def append(
        self,
        ids: Sequence[str],
        descriptors: np.ndarray,
        images: str | None = None,
        identities: Sequence[Identity] | None = None,
        replace: Collection[str] = (),
    ) -> None:
        """Add descriptors in one file; the file is on the disk when this returns.

        Args:
            ids: ids of the images; they must not be in the store.
            descriptors: (len(ids), dim), finite.
            images: the folder that the ids are relative to; None if there is none.
            identities: the record of each image, to recognise a change later; None without
                records.
            replace: ids that may be in the store; their rows are replaced.

        Raises:
            StoreError: if an id is not a text, is empty or is in the store, or the descriptors
                are not finite or have another shape. The store is unchanged then.
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
        """Return the ids of all images, in the order in which they were added.

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
        for part in self._parts:  # before the memory is allocated: store.json is not trusted
            self._check_size(part)
        ids: list[str] = []
        descriptors = np.empty((len(self), self.dim), np.float32)
        for names, rows in self.parts():
            descriptors[len(ids) : len(ids) + len(rows)] = rows
            ids += names
        self._check_unique(ids)
        return ids, descriptors

    def ids_by_folder(self) -> Iterator[tuple[str | None, list[str]]]:
        """Yield for each file the folder of its images (None if not recorded) and their ids.

        Raises:
            StoreError: if a part is missing or damaged.
        """
        self._learn_ids()
        for part in self._parts:
            yield part.images, [*self._by_part[part.file]]

    def move_images(self, old: str, new: str) -> None:
        """Record that the images of the folder `old` are in the folder `new` now.

        Raises:
            OSError: if the store cannot be written; it is unchanged then.
        """
        with _lock(self.folder):
            self._refresh()
            self._write_manifest(
                [replace(part, images=new) if part.images == old else part for part in self._parts]
            )

    def forget_damaged(self) -> dict[str, int]:
        """Drop missing and damaged parts, so that their images can be added again.

        Returns:
            File name of each dropped part to its number of images.

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
        """Drop images and renew the records of others; their files are written again.

        Another process that reads the store at the same time may miss files.

        Args:
            drop: ids of the images to drop.
            identities: id to the new record of its image.
            regroup: whether to write all files again, with `REWRITTEN_ROWS` rows in each.

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
        """Replace old parts by new parts, then add the parts of `more` rows."""
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
        group: list[Rows] = []
        for part in parts:
            group.append(self._read_part(part).changed(drop, identities))
            if sum(len(rows.ids) for rows in group) >= REWRITTEN_ROWS:
                yield Rows.joined(group)
                group = []
        if any(rows.ids for rows in group):
            yield Rows.joined(group)

    def _damaged_parts(self) -> dict[str, int]:
        """Return file name of each damaged part to its number of images."""
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
        with np.errstate(over="ignore"):  # the next check finds an overflow
            rows = descriptors.astype(self.dtype)
        finite = np.isfinite(rows).all(axis=1)
        if not finite.all():
            raise StoreError(
                f"The descriptor of {ids[np.argmin(finite)]!r} is not finite in {self.dtype}. Check"
                f" the weights and the dtype of {self.model_name!r}."
            )
        return rows

    def _check_new(self, ids: list[str], replace: Container[str]) -> None:
        self._learn_ids()
        new_ids: set[str] = set()
        for name in ids:
            if fault := part_file.fault_in_id(name):
                raise StoreError(f"The id {name!r} {fault}.")
            if (name in self._known and name not in replace) or name in new_ids:
                raise StoreError(
                    f"The id {name!r} is in the store {str(self.folder)!r} already, and an image"
                    " can be added only once. Is another process adding the same images?"
                )
            new_ids.add(name)

    def _check_unique(self, ids: list[str]) -> None:
        if len(set(ids)) < len(ids):
            twice = next(name for name, count in Counter(ids).items() if count > 1)
            raise StoreError(
                f"{str(self.folder)!r} has the id {twice!r} more than once; dolg-zoo did not write"
                " it so. Make the store again."
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
            f"{str(self.folder / part.file)!r} is damaged: {fault}. Restore it from a copy, or run"
            f" `dolg embed … --repair` to embed its {part.rows} images again."
        )

    def _refresh(self) -> None:
        """Read `store.json` again: other processes may have changed the parts."""
        settings, self._parts = read_manifest(self.folder)
        self.settings.check_same(settings, self.folder)

    def _write_manifest(self, parts: list[Part]) -> None:
        write_manifest(self.folder, self.settings, parts)
        self._parts = parts


def _lock(folder: Path) -> FileLock:
    from filelock import FileLock

    return FileLock(folder / ".lock", timeout=LOCK_TIMEOUT_S)

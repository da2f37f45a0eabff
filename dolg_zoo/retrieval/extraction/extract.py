"""Embed millions of images into a descriptor store; an interrupted job continues."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from copy import copy
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from dolg_zoo._util.arguments import one_of
from dolg_zoo._util.outputs import check_output
from dolg_zoo._util.own_folders import STORE
from dolg_zoo._util.progress import track
from dolg_zoo.errors import BadImageError, StoreError
from dolg_zoo.preprocessing import PassedOver
from dolg_zoo.retrieval.extraction.identity import Changes, Identity, Known, check_gone, shard_of
from dolg_zoo.retrieval.extraction.pending import Pending, Result, Twin, embed_here
from dolg_zoo.retrieval.extraction.ray_engine import check_ray, embed_on_ray
from dolg_zoo.retrieval.extraction.sources import Files, Source, open_source
from dolg_zoo.retrieval.extraction.store import DescriptorStore, Settings

if TYPE_CHECKING:
    from dolg_zoo.embedders.base import ImageEmbedder
    from dolg_zoo.embedders.dolg import DOLG

_log = logging.getLogger(__name__)

ENGINES = ("local", "ray")
PART_ROWS = 4096
PART_S = 60.0
"""A part is written after `PART_ROWS` rows or `PART_S` seconds: a killed job loses no more."""


@dataclass
class ExtractionReport:
    """The result of `extract`.

    Attributes:
        store: the store.
        changes: how many images were added, changed, removed and kept.
        fresh: ids of the images that were embedded in this run.
        known: number of images that were in the store before.
        skipped: ids of the images without a descriptor, each with the reason.
        passed_over: files of the source that are not images, and folders that cannot be read.
        faults: tar files that could not be read to their end, each with the reason.
        forgotten: damaged files that were dropped from the store, each with its number of images.
        seconds: duration of the run.
    """

    store: DescriptorStore
    changes: Changes = field(default_factory=Changes)
    fresh: set[str] = field(default_factory=set)
    known: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    passed_over: PassedOver = field(default_factory=PassedOver)
    faults: dict[str, str] = field(default_factory=dict)
    forgotten: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def embedded(self) -> int:
        """The number of images that were embedded in this run."""
        return len(self.fresh)


def extract(
    model: ImageEmbedder,
    source: Source | str | Path | Iterable[str | Path],
    folder: str | Path,
    *,
    dtype: str = "float32",
    batch_size: int = 16,
    scales: Sequence[float] | None = None,
    progress: bool = True,
    repair: bool = False,
    engine: str = "local",
    workers: int | None = None,
    moved: bool = False,
    remove_missing: bool = False,
) -> ExtractionReport:
    """Bring a store up to date with a source: embed new and changed images, remove deleted ones.

    An interrupted run continues when it is called again; at most the last minute is lost. A renamed
    image or a copy is not embedded again. Images of other sources stay.

    Args:
        model: the model to embed with.
        source: the images; a path, paths or a pattern are opened with `open_source`.
        folder: the folder of the store; it is created if necessary.
        dtype: "float32", or "float16" for half the size on disk.
        batch_size: images per batch.
        scales: multiples of the image size; None for the preset's scales.
        progress: whether to show a progress bar on a terminal if it takes long.
        repair: whether to drop damaged files of the store and embed their images again.
        engine: "local" for this process, or "ray" for the workers of a Ray cluster. All workers
            need access to the images.
        workers: number of "ray" workers; None: one per GPU, or per machine without a GPU.
        moved: whether the store's images with the same ids were moved here from another folder.
        remove_missing: whether to remove missing images even if they may come back.

    Raises:
        ImagesAwayError: if a missing image has a broken link, or a folder that is empty or cannot
            be read, or if more than half of the images are missing.
        RayError: if Ray is not installed, or the cluster cannot be reached or fails.
        OSError: if the source cannot be read, or the store cannot be written.
        StoreError: if the store was made with another model, other scales or another dtype, has
            images with the same ids from another folder, or is damaged.
        ValueError: if no image can be embedded, or an argument is out of range.
        OutputError: if the folder holds files but no store.
    """
    check_engine(engine, workers, model)
    check_output(folder, STORE)
    source = source if isinstance(source, Source) else open_source(source)
    store = DescriptorStore.create(folder, **asdict(Settings.of(model, scales, dtype)))
    forgotten = store.forget_damaged() if repair else {}
    check_folder_of_images(store, source, moved)
    _say_if_old(store)
    check = partial(check_gone, folder=source.folder, remove_missing=remove_missing)
    report = fill(
        store, model, source, _folder_of(source), batch_size, progress, check, engine, workers
    )
    report.forgotten = forgotten
    if not len(store):
        raise ValueError(_none_of(report))
    return report


CheckRemoval = Callable[[Collection[str], int], None]


def fill(
    store: DescriptorStore,
    model: ImageEmbedder,
    source: Source,
    images: str,
    batch_size: int,
    progress: bool,
    check_removal: CheckRemoval | None = None,
    engine: str = "local",
    workers: int | None = None,
) -> ExtractionReport:
    """Embed the images of a source that the store lacks; for the arguments see `extract`."""
    # The store records `images`, the folder that the ids are relative to. Missing images are
    # removed, unless `check_removal` is None or raises an error.
    begin = time.monotonic()
    own = {id for folder, ids in store.ids_by_folder() if folder == images for id in ids}
    known = Known(store.identities(), own)
    if engine == "ray":
        source = copy(source)
        source.folder = source.folder.absolute()  # a worker may have another working directory
    pending = Pending(source, known)
    embed: Callable[..., Iterator[Result]] = partial(embed_here, model, pending)
    if engine == "ray":
        embed = partial(embed_on_ray, cast("DOLG", model), pending, workers=workers)
    intake = _Intake(store, images, known.identities)
    # Close the generator: it may have started a cluster.
    results = cast("Generator[Result]", embed(batch_size=batch_size, scales=store.scales))
    with closing(results):
        try:
            tracked = track(results, source.missing(known), "Embedding") if progress else results
            for result in tracked:
                intake.take(*result)
        finally:  # also after Ctrl-C: no finished work is lost
            intake.flush()
    changes = intake.finish(pending.gone, len(own), check_removal)
    return ExtractionReport(
        store,
        changes,
        intake.fresh,
        len(known.identities),
        intake.skipped,
        source.passed_over,
        pending.faults,
        seconds=time.monotonic() - begin,
    )


def _say_if_old(store: DescriptorStore) -> None:
    if old := sum(not identity.digest for identity in store.identities().values()):
        _log.warning(
            "The store %r has no content hash of %d images yet. The hashes are added now; images"
            " whose files are newer than the store are embedded again.",
            str(store.folder),
            old,
        )


def check_folder_of_images(store: DescriptorStore, source: Source, moved: bool = False) -> None:
    """Raise StoreError if the store has an id of the source from another folder."""
    folder = _folder_of(source)
    names = frozenset(source.ids if isinstance(source, Files) else source.names)
    old_folders = set()
    for old_folder, ids in store.ids_by_folder():
        is_in_source = (
            names.__contains__ if isinstance(source, Files) else partial(shard_of, shards=names)
        )
        id = next(filter(is_in_source, ids), None)
        if old_folder in (None, folder) or id is None:
            continue
        if not moved:
            raise StoreError(
                f"{str(store.folder)!r} has {id!r} from {old_folder!r} already, and {folder!r} has"
                " an image of that name too. Give another folder to write to. If the images were"
                " moved, allow it with --moved (moved=True)."
            )
        old_folders.add(old_folder)
    for old_folder in filter(None, old_folders):
        store.move_images(old_folder, folder)


def _folder_of(source: Source) -> str:
    return os.path.realpath(source.folder)


def check_engine(engine: str, workers: int | None, model: ImageEmbedder | None = None) -> None:
    """Raise ValueError if the engine is unknown, RayError if its packages are not installed."""
    one_of("engine", engine, ENGINES)
    if engine == "ray":
        check_ray()
        if model is not None:
            model.routed("keras")  # the workers' runtime: a model compiled for another raises
    elif workers is not None:
        raise ValueError(f"The engine {engine!r} is one process; leave out workers={workers!r}.")


class _Intake:
    """Write the results of a run to a store in parts; collect errors, copies and new records."""

    def __init__(self, store: DescriptorStore, images: str, before: Mapping[str, Identity]) -> None:
        self._store, self._images, self._before = store, images, before
        self.fresh: set[str] = set()
        self.skipped: dict[str, str] = {}
        self._added = self._changed = 0
        self._outdated: set[str] = set()
        self._renewed: dict[str, Identity] = {}
        self._copies: dict[str, dict[str, Identity]] = {}
        self._rows: list[tuple[str, np.ndarray, Identity]] = []
        self._due = time.monotonic() + PART_S

    def take(
        self, image: str, result: np.ndarray | Twin | BadImageError, identity: Identity | None
    ) -> None:
        """Take the result of one image."""
        if isinstance(result, Twin):
            assert identity is not None  # the record found the twin
            if result.id != image:
                self._copies.setdefault(result.id, {})[image] = identity
            elif identity != self._before[image]:
                self._renewed[image] = identity
            return
        if not isinstance(result, BadImageError):
            if np.isfinite(result).all():
                self.fresh.add(image)
                self._write(image, result, identity)
                return
            result = BadImageError(image, "the model gives it a descriptor that is not finite")
        self.skipped[image] = result.reason
        if identity and image in self._before:
            self._outdated.add(image)

    def finish(
        self, gone: Collection[str], total: int, check_removal: CheckRemoval | None
    ) -> Changes:
        """Write copies and new records; remove missing and outdated images."""
        missing = set(gone if check_removal else ())
        copies = [pair for images in self._copies.values() for pair in images.items()]
        new = [identity.digest for image, identity in copies if image not in self._before]
        moved = Changes.renamed({id: self._before[id].digest for id in missing}, new)
        if copies:
            for ids, rows in self._store.parts():
                for id, row in zip(ids, rows, strict=True):
                    for image, identity in self._copies.pop(id, {}).items():
                        self._write(image, row, identity)
            self.flush()
        self._outdated |= moved
        try:
            if check_removal:
                check_removal(missing - moved, total)
            self._outdated |= missing
        finally:
            self._store.revise(self._outdated, self._renewed)
        removed = len(self._outdated) - len(moved)
        unchanged = len(self._before) - self._changed - removed
        return Changes(self._added - len(moved), self._changed, removed, unchanged)

    def _write(self, image: str, descriptor: np.ndarray, identity: Identity | None) -> None:
        if image in self._before:
            self._changed += 1
        else:
            self._added += 1
        self._rows.append((image, descriptor, identity or Identity.parse(None)))
        if len(self._rows) >= PART_ROWS or time.monotonic() >= self._due:
            self.flush()

    def flush(self) -> None:
        """Write the collected rows to the store."""
        if not self._rows:
            return
        ids, rows, identities = zip(*self._rows, strict=True)
        try:
            replaced = {id for id in ids if id in self._before}
            self._store.append(ids, np.stack(rows), self._images, identities, replaced)
        except OSError as error:
            raise OSError(
                error.errno,
                f"{error.strerror or error}: {len(ids)} descriptors could not be written. The"
                f" {len(self._store)} before them are safe. Make room and call again: the job"
                " continues",
                str(self._store.folder),
            ) from error
        self._rows = []
        self._due = time.monotonic() + PART_S


def _none_of(report: ExtractionReport) -> str:
    for name, reason in (*report.skipped.items(), *report.faults.items()):
        return f"None of the images could be embedded. The first was {name!r}: {reason}."
    return "There is no image in the source."

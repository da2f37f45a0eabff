"""Embed millions of images into a descriptor store; an interrupted job continues."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from dolg_zoo._util.arguments import one_of
from dolg_zoo._util.outputs import check_output
from dolg_zoo._util.own_folders import STORE
from dolg_zoo._util.progress import track
from dolg_zoo.embedders.fingerprint import name_of_model
from dolg_zoo.errors import BadImageError, StoreError
from dolg_zoo.preprocessing import PassedOver
from dolg_zoo.retrieval.extraction.identity import Changes, Identity, Known, check_gone, shard_of
from dolg_zoo.retrieval.extraction.pending import Pending, Result, Twin, embed_here
from dolg_zoo.retrieval.extraction.ray_cluster import check_ray
from dolg_zoo.retrieval.extraction.ray_engine import embed_on_ray
from dolg_zoo.retrieval.extraction.sources import Files, Source, open_source
from dolg_zoo.retrieval.extraction.store import DescriptorStore

if TYPE_CHECKING:
    from dolg_zoo.embedders.base import ImageEmbedder
    from dolg_zoo.embedders.dolg import DOLG

_log = logging.getLogger(__name__)

ENGINES = ("local", "ray")
PART_ROWS = 4096
PART_S = 60.0
"""A part is written when it has so many rows, or so many seconds after the last: that is what a
job that is killed has to do again."""


@dataclass
class ExtractionReport:
    """The result of `extract`.

    Attributes:
        store: the store.
        changes: how many images were added, changed, removed and kept.
        fresh: ids of the images that were embedded in this run.
        known: number of images that were in the store before.
        skipped: ids of the images without a descriptor, each with the reason.
        passed_over: files of the source that are no images, and what of it cannot be read.
        faults: tar files that could not be read to their end, each with the reason.
        forgotten: damaged files of the store that were dropped, each with its number of images.
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
    """Bring a store up to date with a source: embeds new and changed images, removes deleted ones.

    An interrupted run continues when it is called again; at most the last minute is lost. An image
    that has only got another name, or a copy of one that is there, is not embedded again. What the
    store has of other sources stays: an image is removed if its file, or its place in its tar file,
    is no longer there.

    Args:
        model: the model to embed with.
        source: the images; a path, paths or a pattern are opened with `open_source`.
        folder: the folder of the store; it is created if necessary.
        dtype: "float32", or "float16" for half the size on disk.
        batch_size: images per batch.
        scales: multiples of the image size; None for those of the preset.
        progress: whether to show a progress bar on a terminal if it takes long.
        repair: whether to drop damaged files of the store and embed their images again.
        engine: "local", this process; or "ray", the workers of a Ray cluster. Only this process
            needs access to the store; all of them need access to the images.
        workers: number of "ray" workers; None: one per GPU, or per machine without a GPU.
        moved: whether images of the same ids from another folder are the same images, which have
            been moved here.
        remove_missing: whether images are removed even if a link to them leads nowhere, their
            folder cannot be read or is empty, or they are more than half of all.

    Raises:
        ImagesAwayError: if images are not found and may be away rather than deleted.
        RayError: if Ray is not installed, or the cluster cannot be reached or fails; descriptors
            that were written stay.
        OSError: if the source cannot be read, or the store cannot be written, for instance because
            the disk is full. Descriptors that were written stay, and the next call continues.
        StoreError: if the store was made with another model, other scales or another dtype, has
            images of the same ids from another folder, or is damaged.
        ValueError: if the source has no image, or none that can be embedded, or there is no such
            engine, or the name of the folder ends as that of a file.
        OutputError: if the folder holds files and no store.
    """
    check_engine(engine, workers)
    check_output(folder, STORE)
    if engine == "ray":
        model.routed("keras")  # what its workers compute with; one compiled for another says so
    if not isinstance(source, Source):
        source = open_source(source)
    scales = model.image_converter.scales_or_own(scales)
    store = DescriptorStore.create(
        folder,
        model_id=model.model_id,
        model_name=name_of_model(model),
        dim=model.descriptor_dim,
        scales=scales,
        dtype=dtype,
    )
    forgotten = store.forget_damaged() if repair else {}
    check_folder_of_images(store, source, moved)
    report = fill(
        store,
        model,
        source,
        batch_size=batch_size,
        scales=scales,
        progress=progress,
        engine=engine,
        workers=workers,
        images=_folder_of(source),
        remove=True,
        remove_missing=remove_missing,
    )
    report.forgotten = forgotten
    if not len(store):
        raise ValueError(_none_of(report))
    return report


def fill(
    store: DescriptorStore,
    model: ImageEmbedder,
    source: Source,
    *,
    batch_size: int,
    scales: Sequence[float],
    progress: bool = True,
    engine: str = "local",
    workers: int | None = None,
    images: str,
    remove: bool = False,
    remove_missing: bool = False,
) -> ExtractionReport:
    """Embed the images of a source that a store lacks; for the arguments see `extract`."""
    # `images` is the folder that the ids are relative to, to be recorded; `remove` removes images
    # that are gone, after `check_gone`
    begin = time.monotonic()
    before = store.identities()
    report = ExtractionReport(store, known=len(before), passed_over=source.passed_over)
    if remove:
        _say_if_old(store, before)
    own = {id for folder, ids in store.ids_by_folder() if folder == images for id in ids}
    known = Known(before, own)
    pending, embed = _embedder(engine, workers, model, source, known)
    writer = _Writer(store, images, before)
    renewed: dict[str, Identity] = {}
    copies: dict[str, dict[str, Identity]] = {}
    outdated: set[str] = set()
    # closed, since it may have started a cluster
    results = cast("Generator[Result]", embed(batch_size=batch_size, scales=scales))
    with closing(results):
        try:
            found = track(results, source.missing(known), "Embedding") if progress else results
            for image, result, identity in found:
                if isinstance(result, Twin):
                    assert identity is not None  # by which it was found
                    if result.id != image:
                        copies.setdefault(result.id, {})[image] = identity
                    elif identity != before[image]:
                        renewed[image] = identity
                    continue
                if not isinstance(result, BadImageError):
                    if np.isfinite(result).all():
                        report.fresh.add(image)
                        writer.add(image, result, identity)
                        continue
                    result = BadImageError(
                        image, "the model gives it a descriptor that is not finite"
                    )
                report.skipped[image] = result.reason
                if identity and image in before:
                    outdated.add(image)
        finally:  # also after Ctrl-C: what is done is done
            writer.flush()
    gone = set(pending.gone if remove else ())
    added = [id.digest for new in copies.values() for name, id in new.items() if name not in before]
    moved = Changes.renamed({id: before[id].digest for id in gone}, added)
    if copies:
        for ids, rows in store.parts():
            for id, row in zip(ids, rows, strict=True):
                for image, identity in copies.pop(id, {}).items():
                    writer.add(image, row, identity)
        writer.flush()
    outdated |= moved
    gone -= moved
    try:
        check_gone(gone, len(own), source.folder, remove_missing)
        outdated |= gone
    finally:
        store.revise(outdated, renewed)
    removed = len(outdated) - len(moved)
    report.changes = Changes(
        writer.added - len(moved), writer.changed, removed, len(before) - writer.changed - removed
    )
    report.faults = pending.faults
    report.seconds = time.monotonic() - begin
    return report


def _say_if_old(store: DescriptorStore, known: Mapping[str, Identity]) -> None:
    if old := sum(not identity.digest for identity in known.values()):
        _log.warning(
            "%r does not say yet how %d of its images are known again. It is brought up to date:"
            " those whose files are newer than it are embedded again.",
            str(store.folder),
            old,
        )


def check_folder_of_images(store: DescriptorStore, source: Source, moved: bool = False) -> None:
    """Raise StoreError if the store has an id of the source from another folder."""
    here = _folder_of(source)
    names = frozenset(source.ids if isinstance(source, Files) else source.names)
    moved_from = set()
    for there, ids in store.ids_by_folder():
        is_there = (
            names.__contains__ if isinstance(source, Files) else partial(shard_of, shards=names)
        )
        id = next(filter(is_there, ids), None)
        if there in (None, here) or id is None:
            continue
        if not moved:
            raise StoreError(
                f"{str(store.folder)!r} has {id!r} from {there!r} already, and {here!r} has an"
                " image of that name too. Give another folder to write to. If they are the same"
                " images, moved, allow it with --moved (moved=True)."
            )
        moved_from.add(there)
    for there in filter(None, moved_from):
        store.move_images(there, here)


def _folder_of(source: Source) -> str:
    return os.path.realpath(source.folder)


def check_engine(engine: str, workers: int | None) -> None:
    """Raise ValueError for an unknown engine, RayError if its packages are not installed."""
    one_of("engine", engine, ENGINES)
    if engine == "ray":
        check_ray()
    elif workers is not None:
        raise ValueError(f"The engine {engine!r} is one process; leave out workers={workers!r}.")


def _embedder(
    engine: str, workers: int | None, model: ImageEmbedder, source: Source, known: Known
) -> tuple[Pending, Callable[..., Iterator[Result]]]:
    """Return the images to embed, and the function that embeds them."""
    if engine == "local":
        pending = Pending(source, known)
        return pending, partial(embed_here, model, pending)
    source = copy(source)
    source.folder = source.folder.absolute()  # workers may have been started elsewhere
    pending = Pending(source, known)
    return pending, partial(embed_on_ray, cast("DOLG", model), pending, workers=workers)


class _Writer:
    """Collect descriptors and write them in parts; count new and changed images."""

    def __init__(self, store: DescriptorStore, images: str, before: Collection[str]) -> None:
        self._store, self._images, self._before = store, images, before
        self.added = self.changed = 0
        self._ids: list[str] = []
        self._rows: list[np.ndarray] = []
        self._identities: list[Identity] = []
        self._due = time.monotonic() + PART_S

    def add(self, image: str, descriptor: np.ndarray, identity: Identity | None) -> None:
        if image in self._before:
            self.changed += 1
        else:
            self.added += 1
        self._ids.append(image)
        self._rows.append(descriptor)
        self._identities.append(identity or Identity.parse(None))
        if len(self._ids) >= PART_ROWS or time.monotonic() >= self._due:
            self.flush()

    def flush(self) -> None:
        if not self._ids:
            return
        try:
            replaced = {id for id in self._ids if id in self._before}
            self._store.append(
                self._ids, np.stack(self._rows), self._images, self._identities, replaced
            )
        except OSError as error:
            raise OSError(
                error.errno,
                f"{error.strerror or error}: {len(self._ids)} descriptors could not be written. The"
                f" {len(self._store)} before them are safe; once there is room, the same call goes"
                " on from there",
                str(self._store.folder),
            ) from error
        self._ids, self._rows, self._identities = [], [], []
        self._due = time.monotonic() + PART_S


def _none_of(report: ExtractionReport) -> str:
    for name, reason in (*report.skipped.items(), *report.faults.items()):
        return f"None of the images could be embedded; the first, {name!r}: {reason}."
    return "There is no image in the source."

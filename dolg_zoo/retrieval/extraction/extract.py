"""Embeds millions of images into a descriptor store; an interrupted job continues."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Container, Generator, Iterator, Sequence
from contextlib import closing
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar, cast

import numpy as np

from dolg_zoo._util.arguments import one_of
from dolg_zoo._util.outputs import check_output
from dolg_zoo._util.progress import track
from dolg_zoo.embedders.fingerprint import name_of_model
from dolg_zoo.errors import BadImageError, StoreError
from dolg_zoo.retrieval.extraction.pending import Pending, Result, embed_here
from dolg_zoo.retrieval.extraction.ray_cluster import check_ray
from dolg_zoo.retrieval.extraction.ray_engine import embed_on_ray
from dolg_zoo.retrieval.extraction.sources import Files, Source, open_source
from dolg_zoo.retrieval.extraction.store import DescriptorStore
from dolg_zoo.retrieval.extraction.store.manifest import STORE

if TYPE_CHECKING:
    from dolg_zoo.embedders.base import ImageEmbedder
    from dolg_zoo.embedders.dolg import DOLG

ENGINES = ("local", "ray")
PART_ROWS = 4096
PART_S = 60.0
"""A part is written when it has so many rows, or so many seconds after the last: that is what a
job that is killed has to do again."""


class Appendable(Protocol):
    """The part of a `DescriptorStore` that `fill` needs."""

    @property
    def folder(self) -> Path | None:
        """The folder of the files, for messages."""

    def __len__(self) -> int: ...

    def __contains__(self, id: object, /) -> bool: ...

    def ids(self) -> list[str]:
        """Return the ids of all images."""

    def append(
        self, ids: Sequence[str], descriptors: np.ndarray, images: str | None = None
    ) -> None:
        """Add the descriptors of images that are not there; see `DescriptorStore.append`."""


S = TypeVar("S", bound=Appendable)


@dataclass
class ExtractionReport(Generic[S]):
    """The result of `extract`.

    Attributes:
        store: the store.
        embedded: number of images that were embedded in this run.
        known: number of images that were in the store before.
        skipped: ids of the images without a descriptor, each with the reason.
        faults: tar files that could not be read to their end, each with the reason.
        forgotten: damaged files of the store that were dropped, each with its number of images.
        seconds: duration of the run.
    """

    store: S
    embedded: int = 0
    known: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    forgotten: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0


def extract(
    model: ImageEmbedder,
    source: Source | str | Path,
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
) -> ExtractionReport[DescriptorStore]:
    """Embeds the images of a source into a store, except those whose ids are in the store.

    An interrupted run continues when it is called again; at most the last minute is lost. An image
    that has changed under the same name is not embedded again.

    Args:
        model: the model to embed with.
        source: the images; a path or a pattern is opened with `open_source`.
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

    Raises:
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
    if isinstance(source, (str, Path)):
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
    )
    report.forgotten = forgotten
    if not len(store):
        raise ValueError(_none_of(report))
    return report


def fill(
    store: S,
    model: ImageEmbedder,
    source: Source,
    *,
    batch_size: int,
    scales: Sequence[float],
    progress: bool = True,
    engine: str = "local",
    workers: int | None = None,
    images: str | None = None,
) -> ExtractionReport[S]:
    """Embeds the images of a source that a store lacks; the arguments are those of `extract`.

    Args:
        store: a `DescriptorStore`, or anything else with these methods.
        images: the folder that the ids are relative to, to be recorded; None if there is none.
    """
    begin = time.monotonic()
    report = ExtractionReport(store, known=len(store))
    pending, embed = _embedder(engine, workers, model, source, store)
    writer = _Writer(store, images)
    # closed, since it may have started a cluster
    results = cast("Generator[Result]", embed(batch_size=batch_size, scales=scales))
    with closing(results):
        try:
            found = track(results, source.missing(store), "Embedding") if progress else results
            for image, result in found:
                if isinstance(result, BadImageError):
                    report.skipped[image] = result.reason
                elif not np.isfinite(result).all():
                    report.skipped[image] = "the model gives it a descriptor that is not finite"
                else:
                    writer.add(image, result)
        finally:  # also after Ctrl-C: what is done is done
            writer.flush()
    report.embedded = len(store) - report.known
    report.faults = pending.faults
    report.seconds = time.monotonic() - begin
    return report


def check_folder_of_images(store: DescriptorStore, source: Source, moved: bool = False) -> None:
    """Check that the images of a source are not confused with those of another folder.

    Args:
        store: the store that they are to be added to.
        source: the images.
        moved: see `extract`.

    Raises:
        StoreError: if the store has an id of the source from another folder.
    """
    here = _folder_of(source)
    ids = frozenset(source.ids if isinstance(source, Files) else source.names)
    moved_from = set()
    for there, id in store.ids_of_other_folders(here):
        if there in moved_from or not (id in ids if isinstance(source, Files) else _in(id, ids)):
            continue
        if not moved:
            raise StoreError(
                f"{str(store.folder)!r} has {id!r} from {there!r} already, and {here!r} has an"
                " image of that name too. Give another folder to write to. If they are the same"
                " images, moved, allow it with --moved (moved=True)."
            )
        moved_from.add(there)
    for there in moved_from:
        store.move_images(there, here)


def _folder_of(source: Source) -> str:
    return os.path.realpath(source.folder)


def _in(id: str, shards: Container[str]) -> bool:
    """Whether an id is of an image in one of these shards."""
    parts = id.split("/")
    return any("/".join(parts[:end]) in shards for end in range(1, len(parts)))


def check_engine(engine: str, workers: int | None) -> None:
    """Raise ValueError if there is no such engine, RayError if what it needs is not installed."""
    one_of("engine", engine, ENGINES)
    if engine == "ray":
        check_ray()
    elif workers is not None:
        raise ValueError(f"The engine {engine!r} is one process; leave out workers={workers!r}.")


def _embedder(
    engine: str, workers: int | None, model: ImageEmbedder, source: Source, store: Appendable
) -> tuple[Pending, Callable[..., Iterator[Result]]]:
    """Return the images to embed, and the function that embeds them."""
    if engine == "local":
        pending = Pending(source, store)
        return pending, partial(embed_here, model, pending)
    source = copy(source)
    source.folder = source.folder.absolute()  # workers may have been started elsewhere
    pending = Pending(source, frozenset(store.ids()))  # nor need they see the store
    return pending, partial(embed_on_ray, cast("DOLG", model), pending, workers=workers)


class _Writer:
    """Gathers descriptors and writes them part by part."""

    def __init__(self, store: Appendable, images: str | None) -> None:
        self._store, self._images = store, images
        self._ids: list[str] = []
        self._rows: list[np.ndarray] = []
        self._due = time.monotonic() + PART_S

    def add(self, image: str, descriptor: np.ndarray) -> None:
        self._ids.append(image)
        self._rows.append(descriptor)
        if len(self._ids) >= PART_ROWS or time.monotonic() >= self._due:
            self.flush()

    def flush(self) -> None:
        if not self._ids:
            return
        try:
            self._store.append(self._ids, np.stack(self._rows), self._images)
        except OSError as error:
            raise OSError(
                error.errno,
                f"{error.strerror or error}: {len(self._ids)} descriptors could not be written. The"
                f" {len(self._store)} before them are safe; once there is room, the same call goes"
                " on from there",
                str(self._store.folder),
            ) from error
        self._ids, self._rows = [], []
        self._due = time.monotonic() + PART_S


def _none_of(report: ExtractionReport) -> str:
    for name, reason in (*report.skipped.items(), *report.faults.items()):
        return f"None of the images could be embedded; the first, {name!r}: {reason}."
    return "There is no image in the source."

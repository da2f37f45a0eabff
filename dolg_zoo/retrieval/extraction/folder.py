"""The descriptors of the images of a folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dolg_zoo.preprocessing import PassedOver, list_images
from dolg_zoo.retrieval.extraction.descriptor_cache import describe_files

if TYPE_CHECKING:
    from dolg_zoo.embedders.base import ImageEmbedder


@dataclass(frozen=True)
class Embedded:
    """The images of a folder."""

    folder: Path
    names: list[str]  # paths below the folder, with `/`
    descriptors: np.ndarray  # (images, dim), in the order of `names`
    identities: list[str]  # records of the images, as texts
    skipped: dict[str, str]  # name to reason, for unreadable images
    passed_over: PassedOver  # files that are ignored
    reused: int  # number of descriptors from the cache


def embed_folder(
    model: ImageEmbedder,
    folder: str | Path | Iterable[str | Path],
    *,
    batch_size: int,
    scales: Sequence[float],
    progress: bool,
    cache: bool,
) -> Embedded:
    """Embed the images of a folder and the folders below it; see `Index.build`."""
    if not isinstance(folder, str | os.PathLike):
        given = type(folder).__name__
        folder = [*folder] if isinstance(folder, Iterable) else []
        if not folder or not all(isinstance(each, str | os.PathLike) for each in folder):
            raise TypeError(
                f"folder must be the path of a folder of images, or paths of images, not {given}."
                " Of other images Index(model, names, model.embed(images)) makes an index."
            )
    listed = list_images(folder)
    folder = listed.folder
    images = dict(zip(listed.names, listed, strict=True))
    found = describe_files(
        model, images, folder, scales=scales, batch_size=batch_size, progress=progress, cache=cache
    )
    if not found.names:
        name, reason = next((name, found.skipped[name]) for name in images)
        raise ValueError(
            f"None of the {len(images)} images in {str(folder)!r} can be read; the first,"
            f" {name!r}: {reason}."
        )
    embedded = set(found.names)
    names = [name for name in images if name in embedded]
    row_of = {name: row for row, name in enumerate(names)}
    descriptors = np.empty((len(names), model.descriptor_dim), np.float32)
    start = 0
    for rows in found.parts():
        wanted = [row_of[name] for name in found.names[start : start + len(rows)]]
        descriptors[wanted] = rows
        start += len(rows)
    skipped = {name: found.skipped[name] for name in images if name in found.skipped}
    identity_of = dict(zip(found.names, found.identities, strict=True))
    identities = [identity_of[name] for name in names]
    return Embedded(
        folder, names, descriptors, identities, skipped, listed.passed_over, found.reused
    )

"""The descriptors of the images of a folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dolg_zoo.preprocessing import list_images
from dolg_zoo.preprocessing.files import Listing
from dolg_zoo.retrieval.extraction.descriptor_cache import FolderDescriptors, describe_files

if TYPE_CHECKING:
    from dolg_zoo.embedders.base import ImageEmbedder


def embed_folder(
    model: ImageEmbedder,
    folder: str | Path | Iterable[str | Path],
    *,
    batch_size: int,
    scales: Sequence[float],
    progress: bool,
    cache: bool,
) -> tuple[Listing, FolderDescriptors, np.ndarray]:
    """Embed the images of a folder, for `Index.build`; return descriptors (images, dim) as well."""
    if not isinstance(folder, str | os.PathLike):
        given = type(folder).__name__
        folder = [*folder] if isinstance(folder, Iterable) else []
        if not folder or not all(isinstance(each, str | os.PathLike) for each in folder):
            raise TypeError(
                f"folder must be the path of a folder of images, or paths of images, not {given}."
                " Of other images Index(model, names, model.embed(images)) makes an index."
            )
    listed = list_images(folder)
    folder, images = listed.folder, dict(zip(listed.names, listed, strict=True))
    found = describe_files(
        model, images, folder, scales=scales, batch_size=batch_size, progress=progress, cache=cache
    )
    if not found.names:
        name, reason = next((name, found.skipped[name]) for name in images)
        raise ValueError(
            f"None of the {len(images)} images in {str(folder)!r} can be read; the first,"
            f" {name!r}: {reason}."
        )
    identity_of = dict(zip(found.names, found.identities, strict=True))
    names = [name for name in images if name in identity_of]
    row_of = {name: row for row, name in enumerate(names)}
    descriptors = np.empty((len(names), model.descriptor_dim), np.float32)
    start = 0
    for rows in found.parts():
        wanted = [row_of[name] for name in found.names[start : start + len(rows)]]
        descriptors[wanted] = rows
        start += len(rows)
    skipped = {name: found.skipped[name] for name in images if name in found.skipped}
    identities = [identity_of[name] for name in names]
    parts = partial(iter, [descriptors])
    return listed, FolderDescriptors(names, identities, parts, skipped, found.reused), descriptors

"""The descriptors of a folder's images, those taken from the cache that are there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dolg_zoo._util.progress import track
from dolg_zoo.errors import BadImageError
from dolg_zoo.preprocessing import list_images
from dolg_zoo.retrieval.extraction.folder_cache import cache_file, key_of, read_cache, write_cache

if TYPE_CHECKING:
    from dolg_zoo.embedders.base import ImageEmbedder

KEEP_EVERY_S = 60


@dataclass(frozen=True)
class Embedded:
    """The images of a folder.

    Attributes:
        names: their paths below the folder, with `/` between the parts.
        descriptors: (images, dim), in the order of `names`.
        skipped: name to reason, for those that could not be read.
        reused: how many of the descriptors came from the cache.
    """

    names: list[str]
    descriptors: np.ndarray
    skipped: dict[str, str]
    reused: int


def embed_folder(
    model: ImageEmbedder,
    folder: str | Path,
    *,
    batch_size: int,
    scales: Sequence[float],
    progress: bool,
    cache: bool,
) -> Embedded:
    """Embeds the images of a folder and the folders below it; see `Index.build`."""
    folder = Path(folder)
    paths = list_images(folder)
    names = [path.relative_to(folder).as_posix() for path in paths]
    keys = [key_of(path, name) for path, name in zip(paths, names, strict=True)]
    file = cache_file(folder, model.model_id, scales) if cache else None
    kept = read_cache(file, model.descriptor_dim) if file else {}
    known = {key: kept[key] for key in keys if key in kept}
    reused = len(known)
    missing = [place for place, key in enumerate(keys) if key not in known]
    errors: dict[str, str] = {}
    found = model.embed_each(
        [paths[place] for place in missing], batch_size=batch_size, scales=scales
    )
    due = time.monotonic() + KEEP_EVERY_S
    try:
        for turn, result in track(found, len(missing), "Embedding") if progress else found:
            if isinstance(result, BadImageError):
                errors[names[missing[turn]]] = result.reason
            else:
                known[keys[missing[turn]]] = result
            if file and time.monotonic() >= due:  # against what gives no time to clean up
                write_cache(file, known, quiet=True)
                due = time.monotonic() + KEEP_EVERY_S
    finally:  # also after Ctrl-C: what is done is done
        if file and known.keys() != kept.keys():
            write_cache(file, known)
    skipped = {name: errors[name] for name in names if name in errors}
    if not known:
        name, reason = next(iter(skipped.items()))
        raise ValueError(
            f"None of the {len(names)} images in {str(folder)!r} can be read; the first,"
            f" {name!r}: {reason}."
        )
    kept_keys = [key for key in keys if key in known]
    names = [name for name, _, _ in kept_keys]
    return Embedded(names, np.stack([known[key] for key in kept_keys]), skipped, reused)

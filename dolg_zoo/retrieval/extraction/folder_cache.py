"""Descriptors of a folder's images, kept from one run to the next.

One file a folder and model. A damaged one counts as none, and one that cannot be written costs a
warning: nothing here can make a search fail.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dolg_zoo import __version__
from dolg_zoo._util.cache_folder import cache_folder
from dolg_zoo._util.files import replacing

logger = logging.getLogger(__name__)

Key = tuple[str, int, int]
"""What tells an image from its changed self: name, bytes, time of its last change.

The time is in ns, wrapped to 64 bits: it has to tell times apart, not to be right about them.
"""


def key_of(path: Path, name: str) -> Key:
    """The key of an image, to be asked for before it is read."""
    try:
        status = path.stat()
    except OSError:  # gone meanwhile; reading it will say so
        return name, 0, 0
    return name, status.st_size, (status.st_mtime_ns + 2**63) % 2**64 - 2**63


def cache_file(folder: Path, model_id: str, scales: Sequence[float]) -> Path | None:
    """Where the descriptors of a folder's images by one model are kept, if they can be."""
    if (parent := cache_folder()) is None:
        _warn("there is no home folder")
        return None
    # another version of dolg-zoo may decode or resize otherwise
    parts = (os.path.abspath(folder), model_id, repr(tuple(scales)), __version__)  # noqa: PTH100
    digest = hashlib.sha256(os.fsencode("\0".join(parts))).hexdigest()
    return parent / f"{digest[:32]}.npz"


def read_cache(path: Path, dim: int) -> dict[Key, np.ndarray]:
    """What `write_cache` wrote there, or nothing."""
    try:
        with np.load(path, allow_pickle=False) as file:
            names, stats, descriptors = file["names"], file["stats"], file["descriptors"]
        if (
            names.dtype.kind != "U"
            or stats.dtype != np.int64
            or descriptors.dtype != np.float32
            or stats.shape != (*names.shape, 2)
            or descriptors.shape != (*names.shape, dim)
        ):
            raise ValueError("its arrays are not those of a cache")
    except FileNotFoundError:
        return {}
    except Exception as error:  # NumPy and zipfile raise half a dozen types for damaged files
        logger.info("%s is made anew, since it cannot be read: %s", path, error)
        return {}
    return {
        (name, size, time): descriptor
        for name, (size, time), descriptor in zip(
            names.tolist(), stats.tolist(), descriptors, strict=True
        )
    }


def write_cache(path: Path, known: Mapping[Key, np.ndarray], quiet: bool = False) -> None:
    """Keeps descriptors for the next run, if that is possible; `quiet` says nothing if not."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            np.savez(
                file,
                names=np.array([name for name, _, _ in known]),
                stats=np.array([stats for _, *stats in known], np.int64),
                descriptors=np.array(list(known.values()), np.float32),
            )
    except Exception as error:  # a full disk, no memory, …: what was worked out is still good
        if not quiet:
            _warn(error)


def _warn(reason: object) -> None:
    logger.warning(
        "The descriptors cannot be kept for the next time: %s. DOLG_ZOO_CACHE names the folder to"
        " keep them in.",
        reason,
    )

"""Read the ground truth of Revisited Oxford and Paris, as its authors published it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from dolg_zoo._util.files import user_path
from dolg_zoo._util.hashing import sha256_of
from dolg_zoo.errors import GroundTruthError
from dolg_zoo.weights import read_plain

BENCHMARKS = {"roxford5k": "ROxford5k", "rparis6k": "RParis6k"}

MAX_LISTED = 10_000_000
"""The most listed images over all queries; Paris has 36,000. A small pickle could repeat a long
list without limit."""

_LISTS = ("easy", "hard", "junk")


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """Queries, the gallery, and the gallery images that each query should find.

    Attributes:
        gallery: names of the images to search, without their endings.
        queries: names of the images that queries are cut from.
        boxes: for each query (x1, y1, x2, y2), the box of the landmark in its image.
        easy: for each query the gallery rows of the images that show the landmark clearly.
        hard: gallery rows of the images that show it badly.
        junk: gallery rows of the images that are neither relevant nor wrong.
        sha256: sha256 of the file.
    """

    gallery: tuple[str, ...]
    queries: tuple[str, ...]
    boxes: tuple[tuple[float, float, float, float], ...]
    easy: tuple[np.ndarray, ...]
    hard: tuple[np.ndarray, ...]
    junk: tuple[np.ndarray, ...]
    sha256: str = ""


def read_ground_truth(path: str | Path) -> GroundTruth:
    """Read `gnd_roxford5k.pkl`, `gnd_rparis6k.pkl` or a file of their form. Nothing in it is run.

    The file is a pickle of {"imlist": names, "qimlist": names, "gnd": for each query {"bbx": box,
    "easy": rows, "hard": rows, "junk": rows}}.

    Raises:
        CheckpointError: if the file is no pickle of plain values; see `read_plain`.
        GroundTruthError: if a value is invalid; the message names it.
        OSError: if the file cannot be read.
    """
    value = read_plain(path)
    try:
        return GroundTruth(**_fields(value), sha256=sha256_of(user_path(path)))
    except _FaultError as fault:
        raise GroundTruthError(
            f"{str(path)!r} is no ground truth of Revisited Oxford or Paris: {fault}."
        ) from None


def find_ground_truth(benchmark: str, images: str | Path) -> Path:
    """Return `gnd_<benchmark>.pkl` in the images' folder or its parent, or raise."""
    name = f"gnd_{benchmark}.pkl"
    folder = user_path(images).absolute()
    for candidate in (folder / name, folder.parent / name):
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(
        f"There is no {name} in {str(folder)!r} or its parent folder. The authors of"
        f" {BENCHMARKS.get(benchmark, benchmark)} publish it with the images, in the project"
        " “revisitop”. Put it there, or name it with --ground-truth."
    )


class _FaultError(Exception):
    pass


def _fields(value: object) -> dict[str, tuple[Any, ...]]:
    if not isinstance(value, dict):
        raise _FaultError("it is no dict")
    gallery, queries = _names(value, "imlist"), _names(value, "qimlist")
    if len(set(gallery)) < len(gallery):
        raise _FaultError("imlist has a name more than once")
    truths = value.get("gnd")
    if not isinstance(truths, list) or len(truths) != len(queries):
        raise _FaultError(f"gnd is no list of {len(queries)} entries, one for each of qimlist")
    remaining, boxes = MAX_LISTED, []
    lists: dict[str, list[np.ndarray]] = {name: [] for name in _LISTS}
    for number, truth in enumerate(truths):
        position = f"entry {number} of gnd"
        if not isinstance(truth, dict):
            raise _FaultError(f"{position} is no dict")
        boxes.append(_box(truth.get("bbx"), position))
        for name in _LISTS:
            rows = truth.get(name)
            remaining -= len(rows) if isinstance(rows, list) else 0
            if remaining < 0:
                raise _FaultError(f"it lists more than {MAX_LISTED} images in all")
            lists[name].append(_rows(rows, len(gallery), f"{name} of {position}"))
        listed = np.concatenate([lists[name][-1] for name in _LISTS])
        if len(np.unique(listed)) < len(listed):
            raise _FaultError(f"{position} lists an image more than once")
    return {
        "gallery": gallery,
        "queries": queries,
        "boxes": tuple(boxes),
        **{name: tuple(rows) for name, rows in lists.items()},
    }


def _names(value: Mapping[str, Any], key: str) -> tuple[str, ...]:
    names = value.get(key)
    if not isinstance(names, list) or not names:
        raise _FaultError(f"{key} is no list of names")
    for name in names:
        # Names appear in messages and are compared with file names.
        if not isinstance(name, str) or not _is_file_name(name):
            raise _FaultError(f"{key} has {_shown(name)}, which is no name of an image")
    return tuple(names)


def _is_file_name(name: str) -> bool:
    is_plain = all(kind(name).name == name for kind in (PurePosixPath, PureWindowsPath))
    return is_plain and name not in ("", "..") and name.isprintable() and len(name) < 2**16


def _box(value: object, position: str) -> tuple[float, float, float, float]:
    numbers = value if isinstance(value, list | tuple) and len(value) == 4 else ()
    if all(type(number) in (int, float) for number in numbers):
        try:
            x1, y1, x2, y2 = map(float, numbers)
        except (ValueError, OverflowError):  # not four numbers, or a number is too large
            x1 = y1 = x2 = y2 = math.nan
        if -math.inf < x1 < x2 < math.inf and -math.inf < y1 < y2 < math.inf:
            return x1, y1, x2, y2
    raise _FaultError(f"bbx of {position} is no box [x1, y1, x2, y2] with x1 < x2 and y1 < y2")


def _rows(value: object, size: int, position: str) -> np.ndarray:
    if not isinstance(value, list) or not all(type(row) is int for row in value):
        raise _FaultError(f"{position} is no list of whole numbers")
    for row in value:
        if not 0 <= row < size:
            raise _FaultError(f"{position} has the row {_shown(row)}, and imlist has {size} names")
    return np.array(value, np.int64)


def _shown(value: object) -> str:
    if isinstance(value, str):
        return ascii(value[:80])
    if isinstance(value, int) and value.bit_length() > 64:
        return "a giant number"
    return str(value) if isinstance(value, int | float) else f"a {type(value).__name__}"

"""Near-duplicate files: choose the file to keep, list the groups, move or link the others."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from dolg_zoo._util.arguments import one_of
from dolg_zoo._util.cache_folder import cache_folder
from dolg_zoo._util.hashing import sha256_of
from dolg_zoo._util.outputs import Kind, writing
from dolg_zoo._util.records import keep_record, kept_record
from dolg_zoo.preprocessing.decode import size_of
from dolg_zoo.retrieval.matches import Match

RULES = ("largest", "oldest", "first")
ACTIONS = ("move", "link")
COLUMNS = ("group", "keep", "score", "name", "path")


def keeper(
    group: Sequence[Match], rule: str, ranks: dict[Path, tuple[float, ...]] | None = None
) -> int:
    """Return the index of a group's "largest", "oldest" or "first" image; the first of equals."""
    # Readable images precede unreadable images, and files precede links. Largest: pixels, then
    # bytes. Oldest: by modification time. `ranks` caches ranks, since a rank opens the file.
    ranks = {} if ranks is None else ranks
    one_of("keep", rule, RULES)
    best: tuple[tuple[float, ...], int] | None = None
    for index, match in enumerate(group):
        if match.path not in ranks:
            ranks[match.path] = _rank(match.path, rule)
        rank = ranks[match.path]
        if best is None or rank < best[0]:
            best = rank, index
        if rule == "first" and rank == (0,):  # no other file can be better
            break
    return best[1] if best else 0


def _rank(path: Path, rule: str) -> tuple[float, ...]:
    try:
        status = path.stat()
    except OSError:
        return (3,)
    try:
        width, height = size_of(path)
    except (OSError, ValueError):
        return (2,)
    rank = {"largest": (-width * height, -status.st_size), "oldest": (status.st_mtime,)}
    return (1 if path.is_symlink() else 0, *rank.get(rule, ()))


def _record(digest: str) -> Path | None:
    """Return the path in the cache of the record of a table with this sha256."""
    return cache_folder("tables", f"{digest}.json")


# A table that the user has edited must not be overwritten.
TABLE = Kind(
    "an unchanged table of groups", lambda path: bool(kept_record(_record(sha256_of(path))))
)


def write_table(groups: Iterable[Sequence[Match]], path: Path) -> None:
    """Write groups as a CSV table; the first file of each group is the file to keep."""
    table = io.StringIO()
    rows = csv.writer(table)
    rows.writerow(COLUMNS)
    for number, group in enumerate(groups, 1):
        for match in group:
            keep = "yes" if match is group[0] else "no"
            rows.writerow([number, keep, f"{match.score:.6f}", match.name, match.path])
    data = table.getvalue().encode(errors="surrogateescape")
    keep_record(_record(hashlib.sha256(data).hexdigest()), {"path": str(path)})
    with writing(path, TABLE) as file:
        file.write(data)


def put_aside(images: Iterable[Match], folder: Path, action: str) -> dict[str, str]:
    """Move or link images to a folder; return name to reason of the images that stay."""
    # No file is deleted or overwritten: if a name exists, ` (2)` or the next free number is added.
    # A link that leads to the image already is left alone. A moved link keeps its target.
    one_of("action", action, ACTIONS)
    failed: dict[str, str] = {}
    moved: dict[str, Path] = {}
    # Links come last, when the new paths of their targets are known.
    for image in sorted(images, key=lambda image: image.path.is_symlink()):
        try:
            path = image.path.absolute()
            real = os.path.realpath(path)
            Path(moved.get(real, real)).stat()  # raises if the file is missing
            target = folder.absolute() / image.name
            target.parent.mkdir(parents=True, exist_ok=True)
            if action == "link":
                _at_free_path(partial(_link, real), target)
            elif path.is_symlink():
                _at_free_path(partial(_link, str(moved.get(real, real))), target)
                path.unlink()
            else:
                moved[real] = _at_free_path(partial(_move, path), target)
        except OSError as error:
            failed[image.name] = str(error)
    return failed


def _at_free_path(make: Callable[[Path], None], target: Path) -> Path:
    """Call `make` with the target or the first free numbered path; return that path."""
    free, number = target, 2
    while True:
        try:
            make(free)
            return free
        except FileExistsError:
            free = target.with_name(f"{target.stem} ({number}){target.suffix}")
            number += 1


def _link(file: str, target: Path) -> None:
    if not (target.is_symlink() and os.path.realpath(target) == file):
        target.symlink_to(file)


def _move(file: Path, target: Path) -> None:
    """Move a file; it exists at one path at least at any time. Raise FileExistsError."""
    try:
        os.link(file, target)  # a rename would overwrite
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        _copy(file, target)
    try:
        file.unlink()
    except OSError:
        target.unlink()
        raise


_NO_HARD_LINKS = {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP}
_NO_HARD_LINKS |= {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
"""Errors of a hard link to another disk, or on a disk without hard links."""


def _copy(file: Path, target: Path) -> None:
    copy = target.open("xb")
    try:
        with copy, file.open("rb") as original:
            shutil.copyfileobj(original, copy)
            copy.flush()
            os.fsync(copy.fileno())
        with suppress(OSError):  # a disk without permissions
            shutil.copystat(file, target)
    except BaseException:
        target.unlink()
        raise

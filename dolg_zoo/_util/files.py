"""Write files and folders atomically; remove leftovers of killed processes after a day."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

DAY_S = 24 * 60 * 60

_LONGEST_NAME, _LONGEST_PATH = 255, 4096
FILE_ENDINGS = frozenset(
    {".npy", ".npz", ".parquet", ".feather", ".arrow", ".csv", ".tsv", ".json", ".jsonl", ".txt"}
    | {".pkl", ".pickle", ".mat", ".faiss", ".db", ".sqlite", ".xlsx", ".toml", ".yaml"}
    | {".keras", ".h5", ".hdf5", ".pt", ".pth", ".ckpt", ".safetensors", ".pdparams", ".pb"}
    | {".onnx", ".tflite", ".xml", ".tar", ".tgz", ".gz", ".zip", ".png", ".jpg", ".jpeg", ".svg"}
)
"""Endings, in lower case, of file names, which no folder should have."""

_UNFINISHED = re.compile(r"\.dolg-[0-9a-f]+-[0-9a-f]{8}\.tmp")
_cleaned: set[Path] = set()


def user_path(path: str | Path) -> Path:
    """Return a user's path with `~` and `~name` expanded; raise OSError if a name is too long."""
    # an existing `Path` stays as it is: pathlib drops the `./` of `./~`
    if max(map(len, Path(path).parts), default=0) > _LONGEST_NAME or len(str(path)) > _LONGEST_PATH:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), f"{str(path)[:60]}…")
    if path == "":
        raise ValueError("a path is empty; name a file or a folder (`.` is the current one)")
    if isinstance(path, Path) and (not str(path).startswith("~") or os.path.lexists(path)):
        return path
    return expanded(path)


def expanded(path: str | Path) -> Path:
    """Return a path with `~` or `~name` at its beginning expanded as in a shell."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser fails without a home


@contextmanager
def replacing(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a temporary file that replaces `path` after the block, but not after an error."""
    # anything but a regular file (a pipe, `/dev/stdout`) is written to directly
    path = user_path(path)
    if is_special(path):
        with _naming(path), path.open("wb") as file:
            yield file
        return
    given, path = path, Path(os.path.realpath(path))  # a link's target, not the link
    unfinished = _unfinished(path.parent)
    with _naming(given, unfinished):
        try:
            with unfinished.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except BaseException:
            with suppress(OSError):
                unfinished.unlink()
            raise


@contextmanager
def replacing_folder(
    path: str | Path, keep_if: Callable[[Path], bool] | None = None
) -> Iterator[Path]:
    """Make a temporary folder that replaces `path` after the block, but not after an error."""
    # If the process dies between two renames, `path` is missing. If `keep_if` accepts a file or
    # folder that then exists at `path`, the new folder is removed instead.
    with scratch_folder(path) as scratch, _naming(path):
        temporary = scratch / "new"
        temporary.mkdir()
        yield temporary
        put(temporary, path, keep_if)


_CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


@contextmanager
def _naming(path: str | Path, unfinished: Path | None = None) -> Iterator[None]:
    """Name the path in errors that name the unfinished file or (on a full disk) no file."""
    try:
        yield
    except OSError as error:
        number = error.errno
        if number is None and (said := re.search(r"\berrno = (\d+)", str(error))):
            number = int(said[1])  # HDF5 has the number in its text
        names_nothing = error.filename is None and number in _CANNOT_WRITE
        names_unfinished = unfinished is not None and str(error.filename) == str(unfinished)
        if number is None or not (names_nothing or names_unfinished):
            raise
        raise OSError(number, os.strerror(number), str(path)) from None


@contextmanager
def scratch_folder(path: str | Path) -> Iterator[Path]:
    """Make a hidden folder beside `path`, for files that `put` moves; remove it at the end."""
    parent = Path(path).parent
    parent.mkdir(parents=True, exist_ok=True)
    scratch = _unfinished(parent)
    scratch.mkdir()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def put(new: Path, path: str | Path, keep_if: Callable[[Path], bool] | None = None) -> None:
    """Flush a file or folder to its disk, then move it to `path` on the same disk."""
    # A file replaces a file; a folder replaces anything. A link at `path` is replaced, not its
    # target. For `keep_if` see `replacing_folder`. After an OSError `path` is unchanged.
    path = Path(path)
    for file in [new, *new.rglob("*")]:
        if file.is_file():
            with file.open("rb+" if os.name == "nt" else "rb") as opened:
                os.fsync(opened.fileno())
    if not new.is_dir():
        new.replace(path)
        return
    try:
        new.rename(path)
    except OSError:
        if not os.path.lexists(path):
            raise
        if not (keep_if and keep_if(path)):
            _exchange(new, path)


def remove_unfinished(folder: Path, older_than_s: float = 0) -> None:
    """Remove leftovers of killed processes that are at least `older_than_s` seconds old."""
    # 0 is only for a folder that no other process writes to
    with suppress(OSError):
        for path in folder.iterdir():
            with suppress(OSError):
                if not _UNFINISHED.fullmatch(path.name):
                    continue
                if time.time() - path.lstat().st_mtime < older_than_s:
                    continue
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()


def check_folder_name(path: str | Path, advice: str) -> None:
    """Raise ValueError, with `advice`, if a new folder's name ends like a file's."""
    path = Path(path)
    if path.suffix.lower() in FILE_ENDINGS and not path.is_dir():
        raise ValueError(
            f"The output is a folder, but {str(path)!r} ends in {path.suffix} like a file. {advice}"
        )


def is_special(path: str | Path) -> bool:
    """Return whether the path exists and is no regular file, such as a pipe or `/dev/stdout`."""
    # the path is not resolved: /dev/stdout may lead to a pipe, which has no path
    path = Path(path)
    return path.exists() and not path.is_file()


def _exchange(new: Path, path: Path) -> None:
    old = new.with_name("replaced")
    with suppress(FileNotFoundError):  # another process may just have moved it
        path.rename(old)
    try:
        new.rename(path)
    except OSError:
        if os.path.lexists(path):  # another process was faster
            return
        if os.path.lexists(old):
            old.rename(path)
        raise


def _unfinished(folder: Path) -> Path:
    """Return a name for this process; the first call for a folder also removes leftovers."""
    if folder not in _cleaned:
        _cleaned.add(folder)
        remove_unfinished(folder, DAY_S)
    return folder / f".dolg-{os.getpid():x}-{secrets.token_hex(4)}.tmp"

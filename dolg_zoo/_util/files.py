"""Files and folders that are there whole or not at all.

What a killed process left beside them is removed a day later by the next one that writes there.
"""

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
"""Endings, in lower case, of names that nobody gives to a folder."""

_UNFINISHED = re.compile(r"\.dolg-[0-9a-f]+-[0-9a-f]{8}\.tmp")
_cleaned: set[Path] = set()


def user_path(path: str | Path) -> Path:
    """Return a path that a user gave, with `~` and `~name` at its beginning as a shell reads them.

    A `Path` stays as it is if it exists so: pathlib takes the `./` from `./~`.

    Raises:
        OSError: if it is longer than any name of a file; the message has its beginning only.
    """
    if max(map(len, Path(path).parts), default=0) > _LONGEST_NAME or len(str(path)) > _LONGEST_PATH:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), f"{str(path)[:60]}…")
    if isinstance(path, Path) and (not str(path).startswith("~") or os.path.lexists(path)):
        return path
    return expanded(path)


def expanded(path: str | Path) -> Path:
    """Return a path with `~` and `~name` at its beginning as a shell reads them."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser fails without a home


@contextmanager
def replacing(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a file to write into, which takes `path`'s place once all of it is on the disk.

    If the block raises, or the process dies, what was at `path` is still there. What is no
    regular file (a pipe, `/dev/stdout`) is written to directly.

    Raises:
        OSError: if it cannot be written.
    """
    path = user_path(path)
    if is_special(path):
        with _naming(path), path.open("wb") as file:
            yield file
        return
    given, path = path, Path(os.path.realpath(path))  # the file that a link leads to, not the link
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
    """Make a folder to write into, which takes `path`'s place once all of it is on the disk.

    If the block raises, what was at `path` is still there. If the process dies, it is there or,
    between two renames, nothing is.

    Args:
        path: the place; the folders above it are made if necessary.
        keep_if: is asked about a file or folder that is at `path` by then; if it answers yes,
            that one stays and the new one is dropped.

    Raises:
        OSError: if it cannot be written.
    """
    with scratch_folder(path) as scratch, _naming(path):
        made = scratch / "new"
        made.mkdir()
        yield made
        put(made, path, keep_if)


_CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


@contextmanager
def _naming(path: str | Path, unfinished: Path | None = None) -> Iterator[None]:
    """Put the path into an error that names the unfinished file.

    And into one that says only that nothing can be written, as of a full disk.
    """
    try:
        yield
    except OSError as error:
        number = error.errno
        if number is None and (said := re.search(r"\berrno = (\d+)", str(error))):
            number = int(said[1])  # HDF5 has a line of its own
        names_nothing = error.filename is None and number in _CANNOT_WRITE
        names_unfinished = unfinished is not None and str(error.filename) == str(unfinished)
        if number is None or not (names_nothing or names_unfinished):
            raise
        raise OSError(number, os.strerror(number), str(path)) from None


@contextmanager
def scratch_folder(path: str | Path) -> Iterator[Path]:
    """Make a hidden folder beside `path`, for what `put` moves to `path`; remove it at the end.

    Raises:
        OSError: if it cannot be made.
    """
    parent = Path(path).parent
    parent.mkdir(parents=True, exist_ok=True)
    scratch = _unfinished(parent)
    scratch.mkdir()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def put(made: Path, path: str | Path, keep_if: Callable[[Path], bool] | None = None) -> None:
    """Move a file or folder to its place on the same disk, after its bytes are on that disk.

    Args:
        made: the file, or a folder in a `scratch_folder`.
        path: the place. A file replaces a file, and a folder replaces whatever is there. A link
            there is replaced; what it leads to stays.
        keep_if: see `replacing_folder`.

    Raises:
        OSError: if it cannot be moved; what was at `path` is still there.
    """
    path = Path(path)
    for file in [made, *made.rglob("*")]:
        if file.is_file():
            with file.open("rb+" if os.name == "nt" else "rb") as opened:
                os.fsync(opened.fileno())
    if not made.is_dir():
        made.replace(path)
        return
    try:
        made.rename(path)
    except OSError:
        if not os.path.lexists(path):
            raise
        if not (keep_if and keep_if(path)):
            _exchange(made, path)


def remove_unfinished(folder: Path, older_than_s: float = 0) -> None:
    """Remove what processes that were killed left in a folder while they used this module.

    Args:
        folder: the folder.
        older_than_s: seconds since the last change of what is removed. 0 is only for a folder
            that no other process writes to.
    """
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
    """Raise ValueError if a folder would be made under a name that ends as a file's.

    Args:
        path: the folder; one that is there already may have any name.
        advice: a sentence that says what to write instead.
    """
    path = Path(path)
    if path.suffix.lower() in FILE_ENDINGS and not path.is_dir():
        raise ValueError(
            f"A folder is written, and {str(path)!r} ends in {path.suffix} as a file does. {advice}"
        )


def is_special(path: str | Path) -> bool:
    """Whether it is there and no regular file, but a pipe, say, or `/dev/stdout`."""
    # asked of the path as it is: what /dev/stdout leads to has no path if it is a pipe
    path = Path(path)
    return path.exists() and not path.is_file()


def _exchange(made: Path, path: Path) -> None:
    old = made.with_name("replaced")
    with suppress(FileNotFoundError):  # if another process has just moved it
        path.rename(old)
    try:
        made.rename(path)
    except OSError:
        if os.path.lexists(path):  # another process was faster
            return
        if os.path.lexists(old):
            old.rename(path)
        raise


def _unfinished(folder: Path) -> Path:
    """Return a name that no other process uses; the first call for a folder also cleans it up."""
    if folder not in _cleaned:
        _cleaned.add(folder)
        remove_unfinished(folder, DAY_S)
    return folder / f".dolg-{os.getpid():x}-{secrets.token_hex(4)}.tmp"

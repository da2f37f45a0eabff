"""What a call writes for its user: one check says whether it may, before the work and after it.

Nothing is written over but what dolg-zoo wrote itself, and what holds nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from dolg_zoo._util.files import check_folder_name, is_special, replacing, user_path
from dolg_zoo._util.imports import import_fault
from dolg_zoo._util.json_files import read_json_object
from dolg_zoo.errors import OutputError

MARK = "Picture made by dolg-zoo"
"""Stands in the metadata of each picture that dolg-zoo writes."""

BLOCK = 4096
"""The size of such a picture is a multiple of so many bytes. So of a folder of photographs only
one in so many has to be opened to see that it bears no mark."""


@dataclass(frozen=True)
class Kind:
    """A kind of output.

    Attributes:
        name: what it is, for messages.
        is_own: whether what is at a path is such an output that dolg-zoo wrote. An error stands
            for no.
        is_folder: whether it is a folder.
        advice: of a folder, what to write in place of a name that ends as a file's.
        keeps_hidden: of a folder, whether hidden files in it stay when it is written.
    """

    name: str
    is_own: Callable[[Path], bool]
    is_folder: bool = False
    advice: str = "Leave the ending out."
    keeps_hidden: bool = True


def check_output(path: str | Path, kind: Kind, inputs: Iterable[object] = ()) -> Path:
    """Return the path of an output, as `user_path` does, if it may be written.

    Args:
        path: the file or folder; what is no regular file, such as `/dev/stdout`, may be a file.
        kind: what is written.
        inputs: what the call reads, paths among it; none of it is written over.

    Raises:
        OutputError: if an input is there, or what dolg-zoo did not write.
        OSError: if nothing can be written there.
        ValueError: if a folder is written and the name ends as that of a file.
    """
    path = user_path(path)
    if not kind.is_folder and is_special(path) and not path.is_dir():
        return path  # it is written to where it is, and needs no folder
    if os.path.lexists(path) and path.exists() and path.is_dir() != kind.is_folder:
        if kind.is_folder:
            raise FileExistsError(f"{str(path)!r} is a file; name a folder for {kind.name}.")
        raise IsADirectoryError(f"{str(path)!r} is a folder; give the name of a file to write.")
    if kind.is_folder:
        check_folder_name(path, kind.advice)
        above = next(each for each in (path, *path.absolute().parents) if each.exists())
    else:
        above = path.resolve().parent
    if not above.is_dir():
        raise FileNotFoundError(
            f"{str(path)!r} cannot be written: there is no folder {str(above)!r}."
        )
    if not os.access(above, os.W_OK):
        raise PermissionError(f"Nothing may be written into the folder {str(above)!r}.")
    if path.exists():
        if any(_is_same(path, each) for each in inputs):
            raise OutputError(
                f"{str(path)!r} is an input of this call, and is not written over; give another"
                " name for what is written."
            )
        if not (_is_empty(path, kind.keeps_hidden) or _is_own(path, kind)):
            raise OutputError(
                f"{str(path)!r} is not {kind.name} that dolg-zoo wrote, and is not replaced; give"
                f" another {'folder' if kind.is_folder else 'name'}, or move it away."
            )
    return path


@contextmanager
def writing(path: str | Path, kind: Kind, inputs: Iterable[object] = ()) -> Iterator[IO[bytes]]:
    """Open a file as `replacing` does, if `check_output` lets it be written."""
    with replacing(check_output(path, kind, inputs)) as file:
        yield file


def is_own_picture(source: str | Path | bytes) -> bool:
    """Whether an image file, or its content, is a picture that dolg-zoo made; no error is raised.

    The picture has to be as it was written; one that another program has saved is a photograph.
    """
    mark = MARK.encode()
    if isinstance(source, bytes):
        return len(source) % BLOCK == 0 and mark in source[:BLOCK] + source[-3 * BLOCK :]
    with suppress(OSError):
        size = os.stat(source).st_size  # noqa: PTH116 - asked of each image of a folder
        if size % BLOCK == 0 and size and not is_special(source):
            with Path(source).open("rb") as file:
                found = file.read(BLOCK)
                file.seek(max(0, size - 3 * BLOCK))
                return mark in found + file.read()
    return False


def has_keys(path: Path, *keys: str) -> bool:
    """Whether a file is a JSON object with these keys; no error is raised."""
    with suppress(OSError, ValueError):
        return path.is_file() and {*keys} <= read_json_object(path).keys()
    return False


def has_manifest(folder: Path, manifest: str, keys: Iterable[str], others: re.Pattern) -> bool:
    """Whether a folder has a JSON object with these keys, or nothing but such files.

    Args:
        folder: the folder.
        manifest: the name of the JSON file, which may be damaged in the second case.
        keys: keys of the object.
        others: matches the names of all other files.
    """
    if has_keys(folder / manifest, *keys):
        return True
    names = {entry.name for entry in folder.iterdir() if entry.name[0] != "."} - {manifest}
    return bool(names) and all(map(others.fullmatch, names))


PICTURE = Kind("a picture", is_own_picture)


def _is_own(path: Path, kind: Kind) -> bool:
    try:
        return kind.is_own(path)
    except Exception as error:  # parsers of foreign files raise nearly every type there is
        if fault := import_fault(error):
            raise fault from error
        return False


def _is_empty(path: Path, may_hide: bool) -> bool:
    if not path.is_dir():
        return path.stat().st_size == 0
    return not any(entry.name[0] != "." or not may_hide for entry in path.iterdir())


def _is_same(path: Path, source: object) -> bool:
    """Whether an image, or whatever else a call reads, is the file or folder at a path."""
    source = getattr(source, "source", source)  # a part of an image
    if not isinstance(source, str | Path):  # of an open file, or of Pillow's image
        source = getattr(source, "name", None) or getattr(source, "filename", None)
    if not isinstance(source, str | Path):
        return False
    try:
        return user_path(source).samefile(path)
    except (OSError, ValueError):  # such as of a name with a zero byte in it
        return False

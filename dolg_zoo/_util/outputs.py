"""Check, before and after the work, whether a call may write its output.

Only empty files and folders, and outputs of dolg-zoo itself, are replaced.
"""

from __future__ import annotations

import os
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
"""The mark in the metadata of each picture that dolg-zoo writes."""

BLOCK = 4096
"""The size of a marked picture is a multiple of this many bytes, so only few photographs of a
folder must be opened to see that they have no mark."""


@dataclass(frozen=True)
class Kind:
    """A kind of output."""

    name: str  # for messages
    is_own: Callable[[Path], bool]  # whether dolg-zoo wrote the output at a path; an error means no
    is_folder: bool = False
    advice: str = "Leave the ending out."  # for a folder whose name ends like a file's
    keeps_hidden: bool = True  # whether hidden files stay when the folder is written
    signs: tuple[str, ...] = ()  # a folder of this kind contains one of these files

    def owns(self, path: Path) -> bool:
        """Return whether dolg-zoo wrote the file or folder; raise only errors of imports."""
        try:
            return self.is_own(path)
        except Exception as error:  # parsers of foreign files raise nearly every type there is
            if fault := import_fault(error):
                raise fault from error
            return False


def check_output(path: str | Path, kind: Kind, inputs: Iterable[object] = ()) -> Path:
    """Return `user_path(path)`, or raise OutputError, OSError or ValueError if it is protected."""
    # paths in `inputs` are never written over; other values there are ignored
    path = user_path(path)
    if not kind.is_folder and is_special(path) and not path.is_dir():
        return path  # a pipe is written to directly
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
                f"{str(path)!r} is an input of this call, and is not written over; give the"
                " output another name."
            )
        if not (_is_empty(path, kind.keeps_hidden) or kind.owns(path)):
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
    """Return whether an image file, or its bytes, is an unchanged picture made by dolg-zoo."""
    mark = MARK.encode()
    if isinstance(source, bytes):
        return len(source) % BLOCK == 0 and mark in source[:BLOCK] + source[-3 * BLOCK :]
    with suppress(OSError):
        size = os.stat(source).st_size  # noqa: PTH116 - asked of each image of a folder
        if size % BLOCK == 0 and size and not is_special(source):
            with Path(source).open("rb") as file:
                block = file.read(BLOCK)
                file.seek(max(0, size - 3 * BLOCK))
                return mark in block + file.read()
    return False


def has_keys(path: Path, *keys: str) -> bool:
    """Return whether a file is a JSON object with these keys; raise no error."""
    with suppress(OSError, ValueError):
        return path.is_file() and {*keys} <= read_json_object(path).keys()
    return False


PICTURE = Kind("a picture", is_own_picture)


def _is_empty(path: Path, may_hide: bool) -> bool:
    if not path.is_dir():
        return path.stat().st_size == 0
    return not any(entry.name[0] != "." or not may_hide for entry in path.iterdir())


def _is_same(path: Path, source: object) -> bool:
    """Return whether an input of a call is the file or folder at a path."""
    source = getattr(source, "source", source)  # of a `Crop`
    if not isinstance(source, str | Path):  # an open file, or a PIL image
        source = getattr(source, "name", None) or getattr(source, "filename", None)
    if not isinstance(source, str | Path):
        return False
    try:
        return user_path(source).samefile(path)
    except (OSError, ValueError):  # such as a name with a NUL character
        return False

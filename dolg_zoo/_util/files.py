"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


@contextmanager
def replacing(path: str | Path) -> Iterator[IO[bytes]]:
    """A file to write into, which takes `path`'s place once all of it is on the disk.

    If the block raises, or the process dies, what was at `path` is still there. What is no
    regular file (a pipe, `/dev/stdout`) is written to directly.

    Raises:
        OSError: if it cannot be written.
    """
    if is_special(path):
        with Path(path).open("wb") as file:
            yield file
        return
    given, path = path, Path(os.path.realpath(path))  # the file that a link leads to, not the link
    unfinished = path.with_name(f".dolg-{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with unfinished.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException as error:
        with suppress(OSError):
            unfinished.unlink()
        if isinstance(error, OSError) and str(error.filename) == str(unfinished):
            raise OSError(error.errno, error.strerror, str(given)) from None
        raise


def is_special(path: str | Path) -> bool:
    """Whether it is there and no regular file, but a pipe, say, or `/dev/stdout`."""
    # asked of the path as it is: what /dev/stdout leads to has no path if it is a pipe
    path = Path(path)
    return path.exists() and not path.is_file()

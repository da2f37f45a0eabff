"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
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
    path = Path(os.path.realpath(path))  # the file that a link leads to, not the link
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    unfinished = path.with_name(f".dolg-{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with unfinished.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise

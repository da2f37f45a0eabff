"""Output streams that survive a closed reader and letters of any script."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer


def prepare_streams() -> None:
    """Replace standard output and error, so that a closed stream or reader is no error."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # the caller has closed it, so output is dropped
            stream = open(os.devnull, "w")  # noqa: PTH123, SIM115
        elif type(stream) is io.TextIOWrapper and not stream.isatty():
            stream = _outliving_its_reader(stream)
        # escape letters that the terminal cannot show
        stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, stream)


class _Pipe(io.FileIO):
    """A file that drops further output once its reader has closed it, or after one error."""

    is_lost = False

    def write(self, data: Buffer) -> int:
        try:
            # click writes no bytes to test a stream, and swallows the error
            if not self.is_lost and memoryview(data).nbytes:
                return super().write(data)
        except OSError as error:
            self.is_lost = True
            if not isinstance(error, BrokenPipeError):
                raise
        return memoryview(data).nbytes


def _outliving_its_reader(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    """Return a stream whose reader may close it, as `head` does, while the command continues."""
    raw = _Pipe(stream.fileno(), "wb", closefd=False)
    return io.TextIOWrapper(
        raw if stream.write_through else io.BufferedWriter(raw),
        encoding=stream.encoding,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )

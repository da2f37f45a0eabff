"""Hold back the messages that libraries write to standard error."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held_back_stderr() -> Iterator[None]:
    """Hold back the output to file descriptor 2; show it only if an error is raised."""
    # C++ libraries log there before a log level can be set
    try:
        log, stderr = tempfile.TemporaryFile(), os.dup(2)  # noqa: SIM115
    except OSError:  # no temporary folder, or stderr is closed
        yield
        return
    with log:
        os.dup2(log.fileno(), 2)
        failed = False
        try:
            yield
        except Exception:  # not for Ctrl-C
            failed = True
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            if failed:
                log.seek(0)
                os.write(2, log.read())

"""Hold back the messages that libraries write to standard error."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held_back_stderr() -> Iterator[None]:
    """Hold back the output to file descriptor 2; show it only if an error is raised."""
    # C++ libraries log there before a level can be set for them
    try:
        held, stderr = tempfile.TemporaryFile(), os.dup(2)  # noqa: SIM115
    except OSError:  # no folder for it, or nothing to hold back
        yield
        return
    with held:
        os.dup2(held.fileno(), 2)
        failed = False
        try:
            yield
        except Exception:  # not Ctrl-C, which needs no explanation
            failed = True
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            if failed:
                held.seek(0)
                os.write(2, held.read())

"""TensorFlow computes in the process that started it alone; one that is forked of it would wait."""

from __future__ import annotations

import os

from dolg_zoo.errors import ForkedProcessError

_started_in: int | None = None


def tensorflow_starts() -> None:
    """Note that this process, and no other that is forked of it, computes with TensorFlow.

    Raises:
        ForkedProcessError: if it was forked of one that does.
    """
    global _started_in
    check_not_forked()
    _started_in = os.getpid()


def check_not_forked() -> None:
    """Refuse to compute with TensorFlow, whose threads are not there, rather than wait for ever.

    Raises:
        ForkedProcessError: if this process was forked of one that computes with TensorFlow.
    """
    if _started_in not in (None, os.getpid()):
        raise ForkedProcessError(
            f"TensorFlow cannot compute in process {os.getpid()}, which was forked of process"
            f" {_started_in} after a model was built there. Start processes with"
            ' multiprocessing.get_context("spawn"), or DataLoader(multiprocessing_context="spawn"),'
            " and load the model in each of them. dolg_zoo.embedder() has no such limit where it"
            " needs no TensorFlow."
        )

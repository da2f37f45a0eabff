"""Refuse to use TensorFlow in a process that was forked after TensorFlow started: it would hang."""

from __future__ import annotations

import os

from dolg_zoo.errors import ForkedProcessError

_started_in: int | None = None


def tensorflow_starts() -> None:
    """Note that this process uses TensorFlow; raise ForkedProcessError if its parent does."""
    global _started_in
    check_not_forked()
    _started_in = os.getpid()


def check_not_forked() -> None:
    """Raise ForkedProcessError if the parent process uses TensorFlow: a fork would hang."""
    if _started_in not in (None, os.getpid()):
        raise ForkedProcessError(
            f"TensorFlow cannot compute in process {os.getpid()}, which was forked from process"
            f" {_started_in} after a model was built there. Start processes with"
            ' multiprocessing.get_context("spawn"), or DataLoader(multiprocessing_context="spawn"),'
            " and load the model in each of them. dolg_zoo.embedder() has no such limit if it needs"
            " no TensorFlow."
        )

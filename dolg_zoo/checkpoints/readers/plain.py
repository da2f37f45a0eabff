"""Pickles of plain values: dicts, lists, tuples, texts and numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from dolg_zoo.checkpoints.readers.faults import UnsupportedError
from dolg_zoo.checkpoints.readers.restricted_pickle import RestrictedUnpickler


def read(file: np.memmap) -> Any:
    """Read the value of a pickle that names no global at all."""
    if file[0] != 0x80:
        raise UnsupportedError(f"is no pickle of protocol 2 to 4: it begins with {file[:8]!r}")
    return RestrictedUnpickler(file.data, 0, len(file), names={}, states={}).load()

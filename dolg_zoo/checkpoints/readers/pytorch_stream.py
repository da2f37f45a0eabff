"""PyTorch's format before 1.6: pickles in a row, then the bytes of the storages."""

from __future__ import annotations

import struct

import numpy as np

from dolg_zoo.checkpoints.readers import pytorch
from dolg_zoo.checkpoints.readers.arrays import Region, dtype_named
from dolg_zoo.checkpoints.readers.faults import DamagedError, UnsupportedError, shown
from dolg_zoo.checkpoints.readers.restricted_pickle import Bytes, RestrictedUnpickler

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_COUNT = struct.Struct("<q")

# How the magic number stands in a pickle of any protocol.
MAGIC = b"\x8a\x0a" + _MAGIC_NUMBER.to_bytes(10, "little") + b"."


def read(file: np.memmap) -> dict[str, np.ndarray]:
    """Read the state dict of a stream of pickles."""
    dtypes: dict[str, str] = {}
    data = Bytes(file.data)
    storages = pytorch.storages(dtypes)
    unpickler = RestrictedUnpickler(
        data, pytorch.names(), pytorch.STATES, storages, may_be_opaque=True
    )
    if unpickler.load() != _MAGIC_NUMBER or unpickler.load() != _PROTOCOL:
        raise DamagedError(f"is not of protocol {_PROTOCOL}, the one of such files")
    match unpickler.load():
        case {"little_endian": True}:
            pass
        case _:
            raise UnsupportedError("was written on a big-endian machine")
    checkpoint = unpickler.load()
    regions = _regions(data, unpickler.load(), dtypes)
    return pytorch.state_dict(checkpoint, file, lambda storage: regions[storage.key])


def _regions(data: Bytes, keys: object, dtypes: dict[str, str]) -> dict[str, Region]:
    """Find the block of each storage: they follow the pickles in the order of the keys."""
    if not isinstance(keys, list):
        raise DamagedError(f"has {shown(keys)} instead of a list of its storages")
    regions: dict[str, Region] = {}
    for key in keys:
        if not isinstance(key, str) or key not in dtypes or key in regions:
            raise DamagedError(
                f"lists {shown(key)}, no storage of its tensors or one listed before"
            )
        [count] = _COUNT.unpack(data.read(_COUNT.size))
        size = count * dtype_named(dtypes[key]).itemsize
        regions[key] = Region(data.skip(size), size)
    if len(regions) < len(dtypes):
        raise DamagedError(f"lists {len(regions)} storages, but its tensors use {len(dtypes)}")
    return regions

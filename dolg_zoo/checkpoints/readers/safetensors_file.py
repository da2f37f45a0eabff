"""The .safetensors format, read with its own library, which copies the tensors to NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dolg_zoo.checkpoints.readers.arrays import read_only
from dolg_zoo.checkpoints.readers.faults import DamagedError, UnsupportedError, shown
from dolg_zoo.checkpoints.readers.state_dict import tensors_in

# the library needs several times the header's size in memory
_MAX_HEADER = 8 << 20


def begins(head: bytes, size: int) -> bool:
    """Return whether a file of `size` bytes that begins with `head` has this format."""
    return head[8:9] == b"{" and _header_size(head) <= size - 8


def read(head: bytes, path: Path) -> dict[str, np.ndarray]:
    """Read all tensors of a .safetensors file."""
    from safetensors import SafetensorError, safe_open

    if (header := _header_size(head)) > _MAX_HEADER:
        raise DamagedError(f"has a header of {header} bytes, more than any checkpoint")
    try:
        with safe_open(path, framework="np") as file:
            tensors = {name: read_only(file.get_tensor(name)) for name in file.offset_keys()}
    except (SafetensorError, ValueError) as error:
        raise DamagedError(f"is no sound safetensors file ({shown(str(error))})") from None
    except AttributeError as error:  # a type that NumPy lacks
        raise UnsupportedError(
            f"has a tensor of a type that NumPy does not have ({shown(str(error))})"
        ) from None
    return tensors_in(tensors, np.ndarray)


def _header_size(head: bytes) -> int:
    return int.from_bytes(head[:8], "little")

"""Hugging Face's format: a header in JSON, then the bytes of the tensors, one behind the other.

The safetensors library checks the header. The arrays are mapped here: the library's NumPy part
copies them, and lacks some of the types.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from dolg_zoo.checkpoints.readers.arrays import dtype_named, shape_of, view
from dolg_zoo.checkpoints.readers.faults import DamagedError, UnsupportedError, shown
from dolg_zoo.checkpoints.readers.state_dict import tensors_in

_DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "U16": "uint16",
    "U32": "uint32",
    "U64": "uint64",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
    "BF16": "bfloat16",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2": "float8_e5m2",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
}
# the library makes objects of it that are several times larger
_MAX_HEADER = 8 << 20


def begins(head: bytes, size: int) -> bool:
    """Tell whether a file of `size` bytes that begins with `head` is of this format."""
    return head[8:9] == b"{" and _header_size(head) <= size - 8


def read(file: np.memmap, path: Path) -> dict[str, np.ndarray]:
    """Read all tensors of a .safetensors file."""
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise UnsupportedError(
            "is a safetensors file: `pip install safetensors` to read it"
        ) from None

    header = _header_size(bytes(file[:8]))
    if header > _MAX_HEADER:
        raise DamagedError(f"has a header of {header} bytes, more than any checkpoint")
    tensors = {}
    start = 8 + header
    try:
        with safe_open(path, framework="np") as opened:
            # The library has checked that the tensors leave no gaps, so their order says where.
            for name in opened.offset_keys():
                part = opened.get_slice(name)
                dtype = _dtype(name, part.get_dtype())
                shape = shape_of(tuple(part.get_shape()), len(file))
                tensors[name] = view(file, start, dtype, shape)
                start += math.prod(shape) * dtype.itemsize
    except SafetensorError as error:
        raise DamagedError(f"is no sound safetensors file ({shown(str(error))})") from None
    return tensors_in(tensors, np.ndarray)


def _header_size(head: bytes) -> int:
    return int.from_bytes(head[:8], "little")


def _dtype(name: str, code: str) -> np.dtype:
    if code not in _DTYPES:
        raise UnsupportedError(f"has {shown(name)} of the type {code}, which is not read here")
    return dtype_named(_DTYPES[code])

"""Arrays that are views of a memory-mapped file."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from dolg_zoo.checkpoints.readers.faults import DamagedError, UnsupportedError, shown

_PLAIN = {
    *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
}
_MAX_DIMENSIONS = 32


class Region(NamedTuple):
    """A range of bytes in a file."""

    start: int
    size: int


def dtype_named(name: str) -> np.dtype:
    """Return the NumPy or ml_dtypes dtype for a framework's dtype name."""
    if name in _PLAIN:
        return np.dtype(name).newbyteorder("<")
    try:
        import ml_dtypes
    except ImportError:
        raise UnsupportedError(
            f"holds {name} tensors, which need ml_dtypes: pip install ml_dtypes"
        ) from None
    if not hasattr(ml_dtypes, name):
        raise UnsupportedError(f"holds {name} tensors, which the installed ml_dtypes does not know")
    return np.dtype(getattr(ml_dtypes, name))


def shape_of(sizes: object, limit: int) -> tuple[int, ...]:
    """Return the stated shape; raise DamagedError for more than `limit` elements."""
    if not isinstance(sizes, tuple) or len(sizes) > _MAX_DIMENSIONS:
        raise DamagedError(f"has a tensor whose shape is {shown(sizes)}")
    for size in sizes:
        if not isinstance(size, int) or not 0 <= size <= limit:
            raise DamagedError(f"has a tensor of the size {shown(size)}")
    # A tensor must not have more elements than the file can hold. The other sizes of an empty
    # tensor count too: NumPy multiplies them.
    if math.prod(max(size, 1) for size in sizes) > limit:
        raise DamagedError(f"has a tensor of the shape {sizes}, but the file is too small for it")
    return tuple(map(int, sizes))


def view(
    data: np.memmap | bytes, start: int, dtype: np.dtype, shape: tuple[int, ...]
) -> np.ndarray:
    """Return a read-only array of consecutive elements of `data`, from the byte `start`."""
    return read_only(np.ndarray(shape, dtype, data, start))


def strided_view(
    file: np.memmap, region: Region, dtype: np.dtype, offset: object, sizes: object, strides: object
) -> np.ndarray:
    """Return a strided view of a region of the file; `offset` and `strides` count elements."""
    shape = shape_of(sizes, len(file))
    if not isinstance(strides, tuple) or len(strides) != len(shape):
        raise DamagedError(f"has a tensor of the shape {shape} with {shown(strides)} for strides")
    if not isinstance(offset, int):
        raise DamagedError(f"has a tensor with {shown(offset)} for a stride or offset")
    for step in (offset, *strides):
        if not isinstance(step, int) or step < 0:
            raise DamagedError(f"has a tensor with {shown(step)} for a stride or offset")
    if 0 in shape:
        return view(file, region.start, dtype, shape)
    last = offset + sum((n - 1) * int(step) for n, step in zip(shape, strides, strict=True))
    if (last + 1) * dtype.itemsize > region.size:
        raise DamagedError(
            f"has a tensor of the shape {shape} that ends outside its data of {region.size} bytes"
        )
    # The step along an axis of size 1 is not used, and may be too large for NumPy.
    steps = tuple(
        step * dtype.itemsize if size > 1 else 0 for size, step in zip(shape, strides, strict=True)
    )
    return np.ndarray(shape, dtype, file, region.start + offset * dtype.itemsize, steps)


def read_only(array: np.ndarray) -> np.ndarray:
    """Make an array read-only, like the arrays of a memory-mapped file, and return it."""
    array.flags.writeable = False
    return array

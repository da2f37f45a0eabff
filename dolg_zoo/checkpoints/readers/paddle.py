"""Paddle's .pdparams: one pickle of NumPy arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from dolg_zoo.checkpoints.readers.arrays import read_only, shape_of, view
from dolg_zoo.checkpoints.readers.faults import DamagedError, RefusedError, UnsupportedError, shown
from dolg_zoo.checkpoints.readers.restricted_pickle import (
    Bytes,
    Call,
    Dict,
    Payload,
    RestrictedUnpickler,
    ordered_dict,
)
from dolg_zoo.checkpoints.readers.state_dict import tensors_in

_CHUNKS = "UnpackBigParamInfor@@"
_TYPES = {*("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"), *("f2", "f4", "f8", "c8", "c16")}


class _NdArray:
    """The substitute for the class ndarray, which the file may name but not call."""


@dataclass(slots=True)
class _DType:
    code: str
    order: str = "<"


@dataclass(slots=True)
class _Array:
    """An array as the file describes it; the content is set later."""

    dtype: np.dtype | None = None
    shape: Any = None
    is_fortran: bool = False
    content: Payload | bytes | None = None


def read(file: np.memmap) -> dict[str, np.ndarray]:
    """Read the state dict of a .pdparams file."""
    reader = _Reader(file)
    states: dict[type, Any] = {
        _Array: _set_array,
        _DType: _set_dtype,
        Dict: lambda value, state: None,
    }
    checkpoint = RestrictedUnpickler(
        Bytes(file.data), reader.names(), states, may_be_opaque=True
    ).load()
    if isinstance(checkpoint, dict) and _CHUNKS in checkpoint:
        reader.join_chunks(checkpoint)
    return {
        name: array if isinstance(array, np.ndarray) else reader.build(array)
        for name, array in tensors_in(checkpoint, (_Array, np.ndarray)).items()
    }


class _Reader:
    def __init__(self, file: np.memmap) -> None:
        self.file = file
        # Limits, since a hostile file can use the same bytes or the same chunk many times.
        self.bytes_left = len(file)
        self.joins_left = len(file)

    def names(self) -> dict[tuple[str, str], Any]:
        """Return the substitutes for the globals that Paddle's files use."""
        return {
            ("collections", "OrderedDict"): Call(ordered_dict),
            # Paddle writes a tensor as a tuple of its name and its array.
            ("builtins", "tuple"): Call(_named_array),
            ("__builtin__", "tuple"): Call(_named_array),
            ("_codecs", "encode"): Call(self.encode),
            ("builtins", "bytes"): Call(_no_bytes),
            ("__builtin__", "bytes"): Call(_no_bytes),
            ("numpy", "ndarray"): _NdArray(),
            ("numpy", "dtype"): Call(_dtype),
            ("numpy.core.multiarray", "_reconstruct"): Call(_new_array),
            ("numpy._core.multiarray", "_reconstruct"): Call(_new_array),
        }

    def encode(self, arguments: tuple[Any, ...]) -> bytes:
        """Return the bytes that protocol 2 has written as a text, one character per byte."""
        match arguments:
            case (str() as text, "latin1"):
                pass
            case _:
                raise DamagedError("encodes a text in another way than pickles encode bytes")
        self.bytes_left -= len(text)
        if self.bytes_left < 0:
            raise DamagedError("writes the same bytes more than once")
        try:
            return text.encode("latin-1")
        except UnicodeError:
            raise DamagedError("has a text that cannot be bytes") from None

    def build(self, array: _Array) -> np.ndarray:
        """Return the described array."""
        match array:
            case _Array(np.dtype() as dtype, shape, is_fortran, content) if content is not None:
                pass
            case _:
                raise DamagedError("has an array without content")
        shape = shape_of(shape, len(self.file))
        data: Any = content
        start, size = 0, len(content) if isinstance(content, bytes) else 0
        if isinstance(content, Payload):
            data, start, size = self.file, content.start, content.size
        if size != math.prod(shape) * dtype.itemsize:
            raise DamagedError(f"has {size} bytes for an array of {dtype} and the shape {shape}")
        if is_fortran:
            return view(data, start, dtype, shape[::-1]).T
        return view(data, start, dtype, shape)

    def join_chunks(self, checkpoint: dict[Any, Any]) -> None:
        """Join the chunks of large arrays: below protocol 4, Paddle splits them at 2**30 bytes."""
        chunked = checkpoint.pop(_CHUNKS)
        if not isinstance(chunked, dict):
            raise DamagedError(f"has {shown(chunked)} under {_CHUNKS}")
        for name, plan in chunked.items():
            match plan:
                case {"OriginShape": shape, "slices": [_, *_] as parts}:
                    checkpoint[name] = self.joined(
                        checkpoint, name, shape_of(shape, len(self.file)), parts
                    )
                case _:
                    raise DamagedError(f"does not list the chunks of {shown(name)}")

    def joined(
        self, checkpoint: dict[Any, Any], name: str, shape: tuple[int, ...], parts: list[Any]
    ) -> np.ndarray:
        chunks = []
        for part in parts:
            # removed, so that no chunk is used twice
            chunk = checkpoint.pop(part, None) if isinstance(part, str) else None
            if not isinstance(chunk, _Array):
                raise DamagedError(f"has no chunk {shown(part)} for {shown(name)}")
            chunks.append(self.build(chunk))
            self.joins_left -= chunks[-1].nbytes
        if self.joins_left < 0:
            raise DamagedError("joins the same chunk more than once")
        if len({chunk.dtype for chunk in chunks}) > 1 or any(chunk.ndim != 1 for chunk in chunks):
            raise DamagedError(f"has chunks of {shown(name)} that do not go together")
        if sum(chunk.size for chunk in chunks) != math.prod(shape):
            raise DamagedError(f"has chunks of {shown(name)} that do not fill its shape {shape}")
        return read_only(np.concatenate(chunks).reshape(shape))


def _new_array(arguments: tuple[Any, ...]) -> _Array:
    match arguments:
        case (_NdArray(), _, _):
            return _Array()
    raise RefusedError("asks for an array of another class than numpy.ndarray")


def _dtype(arguments: tuple[Any, ...]) -> _DType:
    match arguments:
        case (str() as code, _, _) if code in _TYPES:
            return _DType(code)
        case (str() as code, *_):
            raise UnsupportedError(f"holds an array of the type {shown(code)}, not of numbers")
    raise DamagedError("has an array type that NumPy does not write")


def _set_dtype(dtype: _DType, state: object) -> None:
    match state:
        case (3, "<" | ">" | "|" as order, None, None, None, -1, -1, 0):
            dtype.order = order
        case _:
            raise UnsupportedError(
                f"holds an array of the type {dtype.code} with fields or metadata"
            )


def _set_array(array: _Array, state: object) -> None:
    match state:
        case (1, shape, _DType() as dtype, is_fortran, Payload() | bytes() as content):
            array.dtype = np.dtype(dtype.order + dtype.code)
            array.shape, array.is_fortran, array.content = shape, is_fortran is True, content
        case _:
            raise DamagedError("has an array whose content is not plain bytes")


def _named_array(arguments: tuple[Any, ...]) -> Any:
    match arguments:
        case ((str(), _Array() as array),):
            return array
        case (tuple() as values,):
            return values
    raise DamagedError("has a tuple written in a way that Paddle does not use")


def _no_bytes(arguments: tuple[Any, ...]) -> bytes:
    if arguments:
        raise DamagedError("has bytes written in a way that Python does not use")
    return b""

"""PyTorch's checkpoints: the pickles of both formats, and the whole format before 1.6."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dolg_zoo.checkpoints.readers.arrays import Region, dtype_named, strided_view
from dolg_zoo.checkpoints.readers.faults import DamagedError, UnsupportedError, shown
from dolg_zoo.checkpoints.readers.restricted_pickle import (
    Bytes,
    Call,
    Dict,
    Opaque,
    Payload,
    RestrictedUnpickler,
    asks_for,
    ordered_dict,
)
from dolg_zoo.checkpoints.readers.state_dict import tensors_in

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_COUNT = struct.Struct("<q")
MAGIC = b"\x8a\x0a" + _MAGIC_NUMBER.to_bytes(10, "little") + b"."
"""The bytes of the magic number (format before 1.6) in a pickle of any protocol."""

_STORAGES = {
    "BoolStorage": "bool",
    "ByteStorage": "uint8",
    "CharStorage": "int8",
    "ShortStorage": "int16",
    "IntStorage": "int32",
    "LongStorage": "int64",
    "HalfStorage": "float16",
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "BFloat16Storage": "bfloat16",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
}
_OTHER_DTYPES = (
    *("uint16", "uint32", "uint64"),
    *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
)
_OTHER_TENSORS = {
    "_rebuild_qtensor": "a quantized tensor",
    "_rebuild_sparse_tensor": "a sparse tensor",
    "_rebuild_nested_tensor": "a nested tensor",
    "_rebuild_meta_tensor_no_storage": "a tensor without data (of the device meta)",
    "_rebuild_wrapper_subclass": "a tensor of a custom class",
    **dict.fromkeys(
        (
            "_rebuild_device_tensor_from_cpu_tensor",
            "_rebuild_device_tensor_from_numpy",
            "_rebuild_xla_tensor",
        ),
        "a tensor of a device with its own format",
    ),
}


@dataclass(frozen=True, slots=True)
class Kind:
    """An element type; `is_storage` if the file names it as the type of a storage."""

    dtype: str
    is_storage: bool


@dataclass(frozen=True, slots=True)
class Storage:
    """A block of `count` elements in the file."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor as the file describes it, not checked yet."""

    storage: Storage
    dtype: str
    offset: Any
    sizes: Any
    strides: Any


def _names() -> dict[tuple[str, str], Any]:
    """Return the substitutes for the globals that checkpoints of plain tensors use."""
    dtypes = {*_STORAGES.values(), *_OTHER_DTYPES}
    return {
        ("collections", "OrderedDict"): Call(ordered_dict),
        ("collections", "defaultdict"): Call(lambda arguments: Dict()),
        ("collections", "Counter"): _first(dict),
        ("builtins", "set"): _first(list),
        ("__builtin__", "set"): _first(list),
        # Protocol 2 writes bytes as text; no tensor needs them.
        ("_codecs", "encode"): _first(str, Payload),
        ("torch", "Size"): _first(tuple),
        ("torch", "device"): _first(str),
        ("torch._utils", "_rebuild_tensor"): Call(_tensor),
        ("torch._utils", "_rebuild_tensor_v2"): Call(_tensor),
        ("torch._utils", "_rebuild_tensor_v3"): Call(_tensor_with_dtype),
        ("torch._utils", "_rebuild_parameter"): Call(_parameter),
        ("torch._utils", "_rebuild_parameter_with_state"): Call(_parameter),
        ("torch.storage", "UntypedStorage"): Kind("uint8", is_storage=True),
        **{("torch", name): Kind(dtype, is_storage=True) for name, dtype in _STORAGES.items()},
        **{("torch", name): Kind(name, is_storage=False) for name in dtypes},
        **{
            ("torch._utils", name): UnsupportedError(f"holds {description}")
            for name, description in _OTHER_TENSORS.items()
        },
    }


def unpickler(data: Bytes, dtypes: dict[str, str]) -> RestrictedUnpickler:
    """Return the reader of a checkpoint's pickles; it writes each storage's type to `dtypes`."""

    def storage_of(saved_id: object) -> Storage:
        storage = _storage(saved_id)
        if dtypes.setdefault(storage.key, storage.dtype) != storage.dtype:
            raise DamagedError(f"has the storage {shown(storage.key)} in two types")
        return storage

    # No tensor depends on the attributes of an OrderedDict, such as `_metadata`.
    states: dict[type, Callable[..., Any]] = {Dict: lambda value, state: None}
    return RestrictedUnpickler(data, _names(), states, storage_of, may_be_opaque=True)


def _storage(saved_id: object) -> Storage:
    match saved_id:
        case ("storage", Kind(dtype, True), str() as key, _, int() as count, *view):
            if view not in ([], [None]):
                raise UnsupportedError(
                    f"has the storage {shown(key)} as a part of another, as PyTorch's first"
                    " versions wrote it"
                )
            return Storage(key, dtype, count)
        case ("storage", Opaque() as kind, *_):
            raise asks_for(kind)
    raise DamagedError(f"has {shown(saved_id)} for a storage, which PyTorch does not write")


def state_dict(
    checkpoint: Any, file: np.memmap, locate: Callable[[Storage], Region]
) -> dict[str, np.ndarray]:
    """Return the model's arrays; `locate` returns the region of a storage in the file."""

    def view(tensor: Tensor) -> np.ndarray:
        storage = tensor.storage
        size = dtype_named(storage.dtype).itemsize
        block = locate(storage)
        if not 0 <= storage.count * size <= block.size:
            raise DamagedError(
                f"has {block.size} bytes for storage {shown(storage.key)}, which has "
                f"{shown(storage.count)} elements of {size} bytes"
            )
        region = Region(block.start, storage.count * size)
        dtype = dtype_named(tensor.dtype)
        return strided_view(file, region, dtype, tensor.offset, tensor.sizes, tensor.strides)

    return {name: view(tensor) for name, tensor in tensors_in(checkpoint, Tensor).items()}


def read_stream(file: np.memmap) -> dict[str, np.ndarray]:
    """Read the format before 1.6: several pickles, then the bytes of the storages."""
    dtypes: dict[str, str] = {}
    data = Bytes(file.data)
    pickles = unpickler(data, dtypes)
    if pickles.load() != _MAGIC_NUMBER or pickles.load() != _PROTOCOL:
        raise DamagedError(f"is not of protocol {_PROTOCOL}, which this format has")
    match pickles.load():
        case {"little_endian": True}:
            pass
        case _:
            raise UnsupportedError("was written on a big-endian machine")
    checkpoint = pickles.load()
    regions = _regions(data, pickles.load(), dtypes)
    return state_dict(checkpoint, file, lambda storage: regions[storage.key])


def _regions(data: Bytes, keys: object, dtypes: dict[str, str]) -> dict[str, Region]:
    """Return the region of each storage; storages follow the pickles in the order of the keys."""
    if not isinstance(keys, list):
        raise DamagedError(f"has {shown(keys)} instead of a list of its storages")
    regions: dict[str, Region] = {}
    for key in keys:
        if not isinstance(key, str) or key not in dtypes or key in regions:
            raise DamagedError(
                f"lists {shown(key)}, which is no storage of its tensors or was listed before"
            )
        [count] = _COUNT.unpack(data.read(_COUNT.size))
        size = count * dtype_named(dtypes[key]).itemsize
        regions[key] = Region(data.skip(size), size)
    if len(regions) < len(dtypes):
        raise DamagedError(f"lists {len(regions)} storages, but its tensors use {len(dtypes)}")
    return regions


def _tensor(arguments: tuple[Any, ...]) -> Tensor:
    match arguments:
        case (Storage() as storage, offset, sizes, strides, *rest):
            _check_metadata(rest[2:])
            return Tensor(storage, storage.dtype, offset, sizes, strides)
    raise DamagedError("has a tensor whose description PyTorch does not write")


def _tensor_with_dtype(arguments: tuple[Any, ...]) -> Tensor:
    match arguments:
        case (Storage() as storage, offset, sizes, strides, _, _, Kind(dtype, False), *metadata):
            _check_metadata(metadata)
            return Tensor(storage, dtype, offset, sizes, strides)
    raise DamagedError("has a tensor whose description PyTorch does not write")


def _check_metadata(metadata: list[Any]) -> None:
    match metadata:
        case [] | [None]:
            return
        case [dict() as bits] if not any(bits.get(bit) is True for bit in ("conj", "neg")):
            return
    raise UnsupportedError("holds a tensor that is marked as conjugated or negated")


def _parameter(arguments: tuple[Any, ...]) -> Tensor:
    match arguments:
        case (Tensor() as tensor, _, _, *_):
            return tensor
    raise DamagedError("has a parameter that is no tensor")


def _first(*kinds: type) -> Call:
    """Return a call whose value is its first argument, a plain value."""

    def take(arguments: tuple[Any, ...]) -> Any:
        match arguments:
            case (value, *_) if isinstance(value, kinds):
                return value
        raise DamagedError("has a plain value written in a way that Python does not use")

    return Call(take)

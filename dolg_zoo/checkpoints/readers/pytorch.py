"""The common part of PyTorch's two formats: the names in their pickles, and making a tensor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dolg_zoo.checkpoints.readers.arrays import Region, dtype_named, strided_view
from dolg_zoo.checkpoints.readers.faults import DamagedError, UnsupportedError, shown
from dolg_zoo.checkpoints.readers.restricted_pickle import (
    Call,
    Dict,
    Opaque,
    Payload,
    asks_for,
    ordered_dict,
)
from dolg_zoo.checkpoints.readers.state_dict import tensors_in

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
    "_rebuild_device_tensor_from_cpu_tensor": "a tensor of a device that has its own format",
    "_rebuild_device_tensor_from_numpy": "a tensor of a device that has its own format",
    "_rebuild_xla_tensor": "a tensor of a device that has its own format",
    "_rebuild_wrapper_subclass": "a tensor of a class of its own",
}


@dataclass(frozen=True, slots=True)
class Kind:
    """An element type. `is_storage` where it was named as that of a storage."""

    dtype: str
    is_storage: bool


@dataclass(frozen=True, slots=True)
class Storage:
    """A block of `total` elements in the file; `count` elements from `first` on are used."""

    key: str
    dtype: str
    total: int
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor as the file describes it; nothing of it has been checked."""

    storage: Storage
    dtype: str
    offset: Any
    sizes: Any
    strides: Any


def names() -> dict[tuple[str, str], Any]:
    """Return the globals that checkpoints of plain tensors use."""
    dtypes = {*_STORAGES.values(), *_OTHER_DTYPES}
    return {
        ("collections", "OrderedDict"): Call(ordered_dict),
        ("collections", "defaultdict"): Call(lambda arguments: Dict()),
        ("collections", "Counter"): _first(dict),
        ("builtins", "set"): _first(list),
        ("__builtin__", "set"): _first(list),
        # bytes are written as text under protocol 2; nobody asks for them here
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
            ("torch._utils", name): UnsupportedError(f"holds {what}")
            for name, what in _OTHER_TENSORS.items()
        },
    }


# An OrderedDict's own attributes, such as `_metadata`, say nothing about the tensors.
STATES: dict[type, Callable[..., Any]] = {Dict: lambda value, state: None}


def storages(dtypes: dict[str, str]) -> Callable[[Any], Storage]:
    """Return the function from a persistent id to its storage; it adds types to `dtypes`."""

    def named(saved_id: object) -> Storage:
        found = _storage(saved_id)
        if dtypes.setdefault(found.key, found.dtype) != found.dtype:
            raise DamagedError(f"has the storage {shown(found.key)} in two types")
        return found

    return named


def _storage(saved_id: object) -> Storage:
    match saved_id:
        case ("storage", Kind(dtype, True), str() as key, _, int() as total):
            first, count = 0, total
        case ("storage", Kind(dtype, True), str() as key, _, int() as total, None):
            first, count = 0, total
        # a part of another storage, as early versions wrote it
        case ("storage", Kind(dtype, True), str() as key, _, int() as total, (_, first, count)):
            pass
        case ("storage", Opaque() as kind, *_):
            raise asks_for(kind)
        case _:
            raise DamagedError(f"has {shown(saved_id)} for a storage, which PyTorch does not write")
    if not isinstance(first, int) or not isinstance(count, int):
        raise DamagedError(f"has a part of the storage {shown(key)} without bounds")
    if not 0 <= first <= first + count <= total:
        raise DamagedError(
            f"has a storage {shown(key)} of {shown(count)} elements from {shown(first)} on, "
            f"in {shown(total)}"
        )
    return Storage(key, dtype, total, first, count)


def state_dict(
    checkpoint: Any, file: np.memmap, locate: Callable[[Storage], Region]
) -> dict[str, np.ndarray]:
    """Return the model's arrays; `locate` finds the block of the file that holds a storage."""

    def view(tensor: Tensor) -> np.ndarray:
        storage = tensor.storage
        size = dtype_named(storage.dtype).itemsize
        block = locate(storage)
        if storage.total * size > block.size:
            raise DamagedError(
                f"has {block.size} bytes for storage {shown(storage.key)}, which has "
                f"{shown(storage.total)} elements of {size} bytes"
            )
        region = Region(block.start + storage.first * size, storage.count * size)
        dtype = dtype_named(tensor.dtype)
        return strided_view(file, region, dtype, tensor.offset, tensor.sizes, tensor.strides)

    return {name: view(tensor) for name, tensor in tensors_in(checkpoint, Tensor).items()}


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
        raise DamagedError("has a plain value made in a way that Python does not write")

    return Call(take)

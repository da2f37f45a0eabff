"""The model's tensors among all that a checkpoint holds."""

from __future__ import annotations

from typing import Any

from dolg_zoo.checkpoints.readers.faults import DamagedError, UnsupportedError, shown

_WRAPPERS = ("model_state", "state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.", "model.")
_NOT_TENSORS = ("_metadata", "StructuredToParameterName@@")
_MAX_TENSORS = 1 << 16


def tensors_in(checkpoint: object, kind: type | tuple[type, ...]) -> dict[str, Any]:
    """Return the state dict in a checkpoint, without wrappers around it or around its names.

    Args:
        checkpoint: the content of the file.
        kind: the type that stands for a tensor in it.
    """
    if not isinstance(checkpoint, dict):
        raise UnsupportedError(f"holds {shown(checkpoint)} instead of a state dict")
    for name in _WRAPPERS:
        inner = checkpoint.get(name)
        if isinstance(inner, dict) and any(isinstance(value, kind) for value in inner.values()):
            checkpoint = inner
            break
    if checkpoint and not any(isinstance(value, kind) for value in checkpoint.values()):
        names = ", ".join(shown(name) for name in list(checkpoint)[:8])
        raise UnsupportedError(
            f"holds no tensors by themselves or under {', '.join(_WRAPPERS)}, but {names}"
        )
    tensors = {name: value for name, value in checkpoint.items() if name not in _NOT_TENSORS}
    for name, value in tensors.items():
        if not isinstance(name, str) or not isinstance(value, kind):
            raise UnsupportedError(
                f"has {shown(value)} instead of a tensor under {shown(name)} in its state dict"
            )
    if not tensors:
        raise UnsupportedError("holds no tensors")
    if len(tensors) > _MAX_TENSORS:
        raise DamagedError(f"holds {len(tensors):,} tensors, more than any model has")
    return _without_prefixes(tensors)


def _without_prefixes(tensors: dict[str, Any]) -> dict[str, Any]:
    # What the first and the last in alphabetical order share, those between share too.
    first, last, shortest = min(tensors), max(tensors), min(map(len, tensors))
    cut = 0
    while prefix := next((p for p in _PREFIXES if first.startswith(p, cut)), ""):
        if not last.startswith(prefix, cut) or cut + len(prefix) == shortest:
            break
        cut += len(prefix)
    return {name[cut:]: value for name, value in tensors.items()}

"""Find the model's tensors in the content of a checkpoint."""

from __future__ import annotations

import logging
from typing import Any

from dolg_zoo.checkpoints.readers.faults import DamagedError, UnsupportedError, shown
from dolg_zoo.checkpoints.readers.restricted_pickle import Opaque, asks_for

_WRAPPERS = ("model_state", "model_state_dict", "state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.", "model.")
_NOT_TENSORS = ("_metadata", "StructuredToParameterName@@")
# the result of a module's get_extra_state, usually None
_EXTRA_STATE = "_extra_state"
# the counter of torch.optim.swa_utils.AveragedModel, whose model is under `module.`
_COUNT_OF_AVERAGED = "n_averaged"
_MAX_TENSORS = 1 << 16

_log = logging.getLogger(__name__)


def tensors_in(checkpoint: object, kind: type | tuple[type, ...]) -> dict[str, Any]:
    """Return a checkpoint's state dict without wrappers; its tensors are of the type `kind`."""
    if isinstance(checkpoint, Opaque):
        raise asks_for(checkpoint)
    if not isinstance(checkpoint, dict):
        raise UnsupportedError(f"holds {shown(checkpoint)} instead of a state dict")
    for name in _WRAPPERS:
        inner = checkpoint.get(name)
        if isinstance(inner, dict) and any(isinstance(value, kind) for value in inner.values()):
            _warn_of_others(checkpoint, name, kind)
            checkpoint = inner
            break
    if not any(isinstance(value, kind) for value in checkpoint.values()):
        # Dicts under unknown names: each name becomes a prefix of the names in its dict.
        checkpoint = _flat(checkpoint, kind) or checkpoint
    if checkpoint and not any(isinstance(value, kind) for value in checkpoint.values()):
        for value in checkpoint.values():
            if isinstance(value, Opaque):
                raise asks_for(value)
        names = ", ".join(shown(name) for name in list(checkpoint)[:8])
        raise UnsupportedError(
            f"holds no tensors at the top level or under {', '.join(_WRAPPERS)}, but {names}"
        )
    tensors = {
        name: value
        for name, value in checkpoint.items()
        if name not in _NOT_TENSORS and (isinstance(value, kind) or not _is_extra_state(name))
    }
    for name, value in tensors.items():
        if isinstance(value, Opaque):
            raise asks_for(value)
        if not isinstance(name, str) or not isinstance(value, kind):
            raise UnsupportedError(
                f"has {shown(value)} instead of a tensor under {shown(name)} in its state dict"
            )
    if not tensors:
        raise UnsupportedError("holds no tensors")
    if len(tensors) > _MAX_TENSORS:
        raise DamagedError(f"holds {len(tensors):,} tensors, more than any model has")
    tensors = _without_prefixes(tensors)
    others = tensors.keys() - {_COUNT_OF_AVERAGED}
    if len(others) < len(tensors) and others and all(n.startswith("module.") for n in others):
        del tensors[_COUNT_OF_AVERAGED]
        tensors = _without_prefixes(tensors)
    return tensors


def _flat(checkpoint: dict[Any, Any], kind: type | tuple[type, ...]) -> dict[str, Any]:
    return {
        f"{name}.{key}": value
        for name, inner in checkpoint.items()
        if isinstance(name, str) and isinstance(inner, dict)
        for key, value in inner.items()
        if isinstance(key, str) and isinstance(value, kind)
    }


def _is_extra_state(name: object) -> bool:
    return isinstance(name, str) and name.rpartition(".")[2] == _EXTRA_STATE


def _warn_of_others(checkpoint: dict[Any, Any], taken: str, kind: type | tuple[type, ...]) -> None:
    """Warn if there are several state dicts, such as the weights and their average."""
    last_parts = {name.rpartition(".")[2] for name in checkpoint[taken] if isinstance(name, str)}
    others = [
        shown(name)
        for name, inner in checkpoint.items()
        if name != taken
        and isinstance(inner, dict)
        and any(isinstance(value, kind) for value in inner.values())
        and any(isinstance(key, str) and key.rpartition(".")[2] in last_parts for key in inner)
    ]
    if others:
        _log.warning(
            "The checkpoint has several state dicts: %r is taken, and not %s. To take another, save"
            " only that one in a file.",
            taken,
            ", ".join(others[:8]),
        )


def _without_prefixes(tensors: dict[str, Any]) -> dict[str, Any]:
    # A prefix of the first and the last name in alphabetical order is a prefix of all names.
    first, last, shortest = min(tensors), max(tensors), min(map(len, tensors))
    cut = 0
    while prefix := next((p for p in _PREFIXES if first.startswith(p, cut)), ""):
        if not last.startswith(prefix, cut) or cut + len(prefix) == shortest:
            break
        cut += len(prefix)
    return {name[cut:]: value for name, value in tensors.items()}

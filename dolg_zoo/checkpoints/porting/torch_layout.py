"""Port a state dict in PyTorch's layout to Keras variables, by a map of layer names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from dolg_zoo.errors import PortingError

BATCH_NORM_LEAVES = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
    "_mean": "moving_mean",  # Paddle's name, as the next
    "_variance": "moving_variance",
}

MOST_LISTED = 12


def port(
    state: Mapping[str, np.ndarray],
    targets: Mapping[str, tuple[int, ...]],
    layer_of: Callable[[str], str | None],
    *,
    unused: Iterable[str] = (),
) -> dict[str, np.ndarray]:
    """Return an array in Keras's layout for each variable in `targets` (path to shape)."""
    # `layer_of` maps the path of a PyTorch module to our layer's path, or to None. PortingError
    # lists tensors without a variable, variables without a tensor, wrong shapes and wrong types.
    rest = {key: array for key, array in state.items() if key not in set(unused)}
    batch_norms = {
        key.rpartition(".")[0] for key in rest if key.endswith((".running_mean", "._mean"))
    }
    ported, unexpected, not_floats = {}, [], []
    for key, array in rest.items():
        module, _, leaf = key.rpartition(".")
        if leaf == "num_batches_tracked":
            continue  # Keras's batch norm has no counter
        layer = layer_of(module)
        names = BATCH_NORM_LEAVES if module in batch_norms else {"weight": "kernel"}
        path = f"{layer}/{names.get(leaf, leaf)}"
        if layer is None or path not in targets or path in ported:
            # Escaped, since a key may contain a control sequence for the terminal.
            unexpected.append(f"{ascii(key)[1:-1]} {tuple(array.shape)}")
            continue
        if not holds_floats(array):
            not_floats.append(f"{key} {array.dtype}")
        ported[path] = _keras_layout(array, targets[path])
    missing = [f"{path} {tuple(targets[path])}" for path in targets if path not in ported]
    differing = [
        f"{path}: {ported[path].shape}, not {tuple(targets[path])}"
        for path in ported
        if ported[path].shape != tuple(targets[path])
    ]
    problems = [
        ("tensors of the checkpoint that the network does not have", unexpected),
        ("variables of the network that the checkpoint does not fill", missing),
        ("tensors of another shape", differing),
        ("tensors that hold no floating-point numbers", not_floats),
    ]
    if any(names for _, names in problems):
        raise PortingError(
            "The checkpoint does not fit the network. "
            + " ".join(f"{problem}: {_listed(names)}." for problem, names in problems if names)
        )
    return ported


def _listed(names: list[str]) -> str:
    more = f", … ({len(names)} in all)" if len(names) > MOST_LISTED else ""
    return ", ".join(names[:MOST_LISTED]) + more


def holds_floats(array: np.ndarray) -> bool:
    """Return whether an array has real numbers; integers may be quantised values."""
    return array.dtype.kind not in "biuc"


def _keras_layout(array: np.ndarray, target: tuple[int, ...]) -> np.ndarray:
    if array.ndim == len(target) == 4:  # (out, in, height, width); a depthwise kernel has in = 1
        depthwise = array.shape[1] == 1 and target[2] == array.shape[0]
        return array.transpose(2, 3, 0, 1) if depthwise else array.transpose(2, 3, 1, 0)
    if array.ndim in (2, 3):  # (out, in) and (out, in, size)
        return array.T
    if array.shape == (1,) and tuple(target) == ():
        return array.reshape(())
    return array

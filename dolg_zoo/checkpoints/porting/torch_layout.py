"""From a state dict in PyTorch's layout to Keras variables, given only the names of the layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from dolg_zoo.errors import PortingError

BATCH_NORM_LEAVES = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
    "_mean": "moving_mean",  # these two are Paddle's
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
    """Rename PyTorch's tensors and lay them out as Keras does: an array for each of `targets`."""
    # `layer_of` maps a PyTorch module's path to our layer's, or to None. The PortingError lists
    # tensors without a variable, variables without a tensor, wrong shapes, and integer or complex
    # tensors.
    rest = {key: array for key, array in state.items() if key not in set(unused)}
    batch_norms = {
        key.rpartition(".")[0] for key in rest if key.endswith((".running_mean", "._mean"))
    }
    ported, strange, no_floats = {}, [], []
    for key, array in rest.items():
        module, _, leaf = key.rpartition(".")
        if leaf == "num_batches_tracked":
            continue  # Keras' batch norm does not count
        layer = layer_of(module)
        names = BATCH_NORM_LEAVES if module in batch_norms else {"weight": "kernel"}
        path = f"{layer}/{names.get(leaf, leaf)}"
        if layer is None or path not in targets or path in ported:
            # escaped: such a key may be anything, an escape sequence for the terminal too
            strange.append(f"{ascii(key)[1:-1]} {tuple(array.shape)}")
            continue
        if not holds_floats(array):
            no_floats.append(f"{key} {array.dtype}")
        ported[path] = _keras_layout(array, targets[path])
    missing = [f"{path} {tuple(targets[path])}" for path in targets if path not in ported]
    differing = [
        f"{path}: {ported[path].shape}, not {tuple(targets[path])}"
        for path in ported
        if ported[path].shape != tuple(targets[path])
    ]
    problems = [
        ("tensors of the checkpoint that the network does not have", strange),
        ("variables of the network that the checkpoint does not fill", missing),
        ("tensors of another shape", differing),
        ("tensors that hold no floating-point numbers", no_floats),
    ]
    if any(names for _, names in problems):
        raise PortingError(
            "The checkpoint does not fit the network. "
            + " ".join(f"{what}: {_listed(names)}." for what, names in problems if names)
        )
    return ported


def _listed(names: list[str]) -> str:
    more = f", … ({len(names)} in all)" if len(names) > MOST_LISTED else ""
    return ", ".join(names[:MOST_LISTED]) + more


def holds_floats(array: np.ndarray) -> bool:
    """Return whether the numbers are real: quantised ones need more than their values."""
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

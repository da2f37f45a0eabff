"""Two taps on any Keras model: the local and the global feature map of DOLG."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from types import MappingProxyType

import keras

# If a model takes any size, its maps are measured at this size, a multiple of every stride.
_PROBE_SIZE = 256

# Most networks round a map's size up; some poolings round down. Rounding up is tried first: in a
# small image, a map of twice the stride, rounded up, can have the size of this map rounded down.
_ROUNDINGS = (math.ceil, math.floor)


def two_taps(model: keras.Model, local: str | int = 16, global_: str | int = 32) -> keras.Model:
    """Return a model with two outputs, the local and the global map, from the layers of a model.

    A tap is the name of a layer, or an integer: the stride of its map, which is the size of the
    input divided by the size of the map. A model may offer maps: the `pyramid_outputs` of
    keras-hub's backbones, or named outputs. Then the tap is the last offered map of that stride;
    "P4" means stride 16, "P5" means 32 and so on, unless a layer has that name. In other models,
    the tap is the last layer of that stride on which all later layers depend: the end of a block,
    not a layer on one of its branches.

    Args:
        model: A functional model with one image input (batch, H, W, channels), channels last; H and
            W may be None. The layers are shared with the result, not copied.
        local: The tap of the local map, with stride 16 in the paper (arXiv 2108.02927).
        global_: The tap of the global map, with stride 32 in the paper.

    Returns:
        A model from the same input to `[local map, global map]`, both of shape
        (batch, height, width, channels).

    Raises:
        ValueError: If the model is not such a model, or a tap is neither a name nor a stride, or
            there is no such layer; then the message lists possible layers.
    """
    offered = _offered(model)
    if not hasattr(model, "operations") or len(getattr(model.input, "shape", ())) != 4:
        raise ValueError(
            f"Model {getattr(model, 'name', model)!r} cannot be tapped: it has to be a "
            "functional Keras model with one input of shape (batch, height, width, channels)."
        )
    for layer in (model, *model.operations):
        if getattr(layer, "data_format", None) == "channels_first":
            raise ValueError(
                f"Model {model.name!r} cannot be tapped: {layer.name!r} takes images with their "
                "channels first. Build the model with data_format='channels_last'."
            )
    for tap in (local, global_):
        is_stride = isinstance(tap, Integral) and not isinstance(tap, bool) and tap >= 1
        if not isinstance(tap, str) and not is_stride:
            raise ValueError(
                f"A tap has to be the name of a layer or a stride of 1 or more; got {tap!r}."
            )
    levels = _measured(model, offered)
    outputs = [_tapped(model, tap, levels) for tap in (local, global_)]
    return keras.Model(model.input, outputs, name=f"{model.name}_two_taps")


def _tapped(model: keras.Model, tap: str | int, levels: list[_Map]) -> keras.KerasTensor:
    stride = _stride_of_level(tap) if levels and isinstance(tap, str) else tap
    is_layer = any(operation.name == tap for operation in model.operations)
    if is_layer or isinstance(stride, str):
        return _output_of(model, str(tap), str(tap), levels=[*map(str, levels)])
    tapped = _of_stride(levels, stride)
    if tapped is None and not isinstance(tap, str):
        ends = _stage_ends(model)
        tapped = _of_stride(ends, stride)
        levels = [*levels, *ends]
    if tapped is None:
        raise ValueError(_no_stride(model, tap, stride, levels))
    return tapped.tensor


def check_taps(taps: Sequence[str]) -> None:
    """Raise a ValueError unless the taps are two names."""
    is_sequence = isinstance(taps, Sequence) and not isinstance(taps, str)
    if not is_sequence or len(taps) != 2 or not all(isinstance(tap, str) for tap in taps):
        raise ValueError(f"taps={taps!r} has to be two names, for the local and the global map.")


def tap_layers(
    model: keras.Model,
    taps: Sequence[str],
    levels: Mapping[str, str] = MappingProxyType({}),
    name: str | None = None,
) -> keras.Model:
    """Return a model to the 4-D maps of two layers or levels; raise ValueError if one has none."""
    check_taps(taps)
    outputs = [
        _output_of(model, tap, levels.get(tap, tap), name=name, levels=levels) for tap in taps
    ]
    return keras.Model(model.input, outputs, name=name or f"{model.name}_two_taps")


def _output_of(
    model: keras.Model, tap: str, layer: str, *, levels: Iterable[str], name: str | None = None
) -> keras.KerasTensor:
    """Return the output of a layer, which the user named `tap`."""
    operations = {operation.name: operation for operation in model.operations}
    if layer not in operations:
        near = difflib.get_close_matches(tap, operations, n=5)
        raise ValueError(
            f"Model {name or model.name!r} has no tap {tap!r}. There are "
            + (f"the levels {', '.join(levels)} and " if levels else "")
            + f"{len(operations)} layers, "
            + ("among them " if near else "at the end ")
            + f"{', '.join(near or list(operations)[-10:])}."
        )
    output = operations[layer].output
    if len(getattr(output, "shape", ())) != 4:
        raise ValueError(
            f"Layer {layer!r} cannot be tapped: its output is not one map of shape "
            "(batch, height, width, channels)."
        )
    return output


def _offered(model: keras.Model) -> dict[str, keras.KerasTensor]:
    """Return keras-hub's `pyramid_outputs`; raise ValueError if they are no maps, as in ViTs."""
    pyramid = getattr(model, "pyramid_outputs", None)
    outputs = pyramid or getattr(model, "output", None)
    if not isinstance(outputs, dict):
        return {}
    maps = {name: tensor for name, tensor in outputs.items() if len(tensor.shape) == 4}
    if pyramid and not maps:
        shape = tuple(next(iter(pyramid.values())).shape)
        raise ValueError(
            f"Model {model.name!r} cannot be tapped: its pyramid_outputs, {', '.join(pyramid)}, "
            f"have the shape {shape}, and are not maps of shape (batch, height, width, channels)."
        )
    return maps


def _stride_of_level(tap: str) -> str | int:
    """Return the stride of a level such as "P4"; the name of a layer as it is."""
    level = re.fullmatch(r"P(\d)", tap)
    return 2 ** int(level[1]) if level else tap


@dataclass(frozen=True)
class _Map:
    name: str
    tensor: keras.KerasTensor
    sizes: tuple[tuple[int, int], ...]  # (input size, map size) for height and width
    channels: int

    def has_stride(self, stride: int, rounded: Callable[[float], int]) -> bool:
        return all(out == rounded(size / stride) for size, out in self.sizes)

    @property
    def stride(self) -> int | None:
        """The nearest whole stride; None for a map between two strides, such as a padded one."""
        size, out = self.sizes[0]
        nearest = max(round(size / out), 1)
        return nearest if any(self.has_stride(nearest, r) for r in _ROUNDINGS) else None

    def __str__(self) -> str:
        return f"{self.name} (stride {self.stride}, {self.channels} channels)"


def _of_stride(maps: list[_Map], stride: int) -> _Map | None:
    for rounded in _ROUNDINGS:
        for candidate in reversed(maps):
            if candidate.has_stride(stride, rounded):
                return candidate
    return None


def _no_stride(model: keras.Model, tap: str | int, stride: int, maps: list[_Map]) -> str:
    # one layer per stride, since a deep network has hundreds of layers
    last = {m.sizes: m for m in maps if m.stride}
    return (
        f"Model {model.name!r} has no layer of stride {stride} to tap"
        + (f" for {tap!r}" if isinstance(tap, str) else "")
        + ". The last of each stride: "
        + (", ".join(map(str, last.values())) or "none")
        + ". Name a layer instead."
    )


def _stage_ends(model: keras.Model) -> list[_Map]:
    """Return the 4-D maps on which all later layers depend, in order."""
    return _measured(model, {operation.name: operation.output for operation in _cuts(model)})


def _measured(model: keras.Model, maps: Mapping[str, keras.KerasTensor]) -> list[_Map]:
    """Return the maps with their sizes, without maps of unknown size."""
    if not maps:
        return []
    outputs = list(maps.values())
    height, width, channels = model.input.shape[1:]
    height, width = height or _PROBE_SIZE, width or _PROBE_SIZE
    if None in model.input.shape[1:3]:
        probe = keras.Model(model.input, outputs)
        shapes = probe.compute_output_shape((1, height, width, channels))
    else:
        shapes = [output.shape for output in outputs]
    return [
        _Map(name, tensor, ((height, shape[1]), (width, shape[2])), shape[3])
        for (name, tensor), shape in zip(maps.items(), shapes, strict=True)
        if None not in shape[1:]
    ]


def _cuts(model: keras.Model) -> list[keras.Operation]:
    """Return the operations with a 4-D output that are on every path from input to output."""
    operations = model.operations  # in topological order
    last_use = {}
    for position, operation in enumerate(operations):
        if not isinstance(operation, keras.layers.InputLayer):
            for tensor in keras.tree.flatten(operation.input):
                last_use[id(tensor)] = position
    cuts, needed_until = [], 0
    for position, operation in enumerate(operations):
        output = operation.output
        is_map = len(getattr(output, "shape", ())) == 4
        if position > 0 and needed_until <= position and is_map:
            cuts.append(operation)
        ends = (last_use.get(id(tensor), position) for tensor in keras.tree.flatten(output))
        needed_until = max(needed_until, *ends)
    return cuts

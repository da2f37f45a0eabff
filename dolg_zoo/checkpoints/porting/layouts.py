"""Port an upstream's checkpoint: map the tensor names of its layout to our variables."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dolg_zoo.checkpoints.porting.torch_layout import holds_floats, port
from dolg_zoo.errors import PortingError

State = Mapping[str, np.ndarray]
Shapes = Mapping[str, tuple[int, ...]]

STAGES = {(3, 4, 6, 3): "resnet50", (3, 4, 23, 3): "resnet101", (3, 8, 36, 3): "resnet152"}
# The margin head of every upstream: the official configuration states the two values, and
# dongkyuk's golden logits confirm them.
SCALE, MARGIN = 30.0, 0.15

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MarginHead:
    """The class, settings and weights of a margin head of `dolg_zoo.layers`.

    Attributes:
        layer: "CurricularFace", "ArcFace", "SubCenterArcFace" or "CosineSoftmax".
        scale: the factor on the cosines.
        margin: the margin on the target's angle, in radians; 0 for CosineSoftmax.
        arrays: the layer's variables by name: `centers`, (classes, dim); for CurricularFace also
            `t`, (); for SubCenterArcFace `centers`, (classes, centers per class, dim), and
            `margins`, (classes,).
    """

    layer: str
    scale: float
    margin: float
    arrays: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        """Raise PortingError if an array does not hold real numbers."""
        for name, array in self.arrays.items():
            if not holds_floats(array):
                raise PortingError(
                    f"The margin head's {name} must hold real numbers, not {array.dtype}."
                )


@dataclass(frozen=True)
class Layout:
    """The tensor names of an upstream's checkpoints, and how its tensors differ from ours.

    Each method raises `PortingError` if the state dict has another layout.
    """

    # pattern of the start of a backbone block's keys; its groups are the stage and the block number
    block: str
    block_layer: Callable[[str], str | None]  # module path in a block to our layer
    layers: Mapping[str, str]  # path of any other module to our layer
    projection: str  # the kernel of the global projection; few other networks have this name
    descriptor: str  # the kernel of the last layer
    # returns the values of `DOLGConfig` that depend on the checkpoint
    more_config: Callable[[State], dict[str, Any]]
    # reorders the input channels of kernels in place
    reorder: Callable[[dict[str, np.ndarray], Shapes], None]
    head: tuple[str, ...] = ()  # tensors of the margin head, class centers first
    unused: tuple[str, ...] = ()  # tensors that the network does not need
    # tensors that are settings of our network, to the variable of a network that trains them
    constants: Mapping[str, str] = field(default_factory=dict)
    transposed: tuple[str, ...] = ()  # kernels stored as (in, out), as in Keras
    # an ending of keys that this layout never has, and the framework whose keys end so
    foreign: tuple[str, str] | None = None
    stages: int = 4  # number of the ResNet's stages in the network

    def config(self, state: State) -> dict[str, Any]:
        """Return the architecture of a checkpoint as values of `DOLGConfig`."""
        backbone = _resnet_of(state, self.block, self.stages)
        if self.foreign and any(key.endswith(self.foreign[0]) for key in state):
            raise PortingError(
                f"The checkpoint names its batch norm statistics as {self.foreign[1]} does."
            )
        return {
            "backbone": backbone,
            "hidden_dim": self._width(state, self.projection),
            "descriptor_dim": self._width(state, self.descriptor),
            **self.more_config(state),
        }

    def weights(self, state: State, targets: Shapes) -> dict[str, np.ndarray]:
        """Return the variables of a `DOLGNet` by path; `targets` gives the shape of each."""
        state = {key: array.T if key in self.transposed else array for key, array in state.items()}
        constants = [key for key, path in self.constants.items() if path not in targets]
        ported = port(
            state,
            targets,
            lambda module: self.layers.get(module) or self.block_layer(module),
            unused=(*self.unused, *constants),
        )
        self.reorder(ported, targets)
        return ported

    def margin_head(self, state: State) -> MarginHead | None:
        """Return the margin head that the network was trained with; None if it is not there."""
        if not self.head or self.head[0] not in state:
            return None
        key, *more = self.head
        dim, centers = self._width(state, self.descriptor), state[key]
        if centers.ndim != 2 or centers.shape[1] != dim or not len(centers):
            raise PortingError(
                f"{key!r} must give {dim} numbers for each class; its shape is {centers.shape}."
            )
        if not more:
            return MarginHead("ArcFace", SCALE, MARGIN, {"centers": centers})
        t = state.get(more[0], np.zeros(1, "float32"))
        if t.size != 1:
            raise PortingError(f"{more[0]!r} must be one number; its shape is {t.shape}.")
        arrays = {"centers": centers, "t": t.reshape(())}
        return MarginHead("CurricularFace", SCALE, MARGIN, arrays)

    def _width(self, state: State, key: str) -> int:
        return width_of(state, key, axis=int(key in self.transposed))

    def network_in(self, state: State) -> State:
        """Return the tensors of the network and its margin head, by the names of this layout.

        A network that was part of another module has a prefix before its names, such as `model.`
        or `student.module.`. Of several networks, the one with the most tensors is taken, then the
        one with the shortest prefix, then the first in the file. A warning names the tensors that
        are left out.
        """
        keys = [key for key in state if f".{key}".endswith(f".{self.projection}")]
        parts = _split(state, [key.removesuffix(self.projection) for key in keys])
        fitting = [prefix for prefix in parts if self._fits(parts[prefix])] or [*parts]
        if not fitting:
            return state
        order = sorted(fitting, key=lambda prefix: (-len(parts[prefix]), prefix.count(".")))
        taken, *others = order
        network, inside = parts[taken], {taken + key for key in parts[taken]}
        aside = {key: array for key, array in state.items() if key not in inside}
        head = {key: aside[key] for key in self.head if key in aside and key not in network}
        with suppress(ValueError):  # another kind of loss may have tensors with these names
            if head and self.margin_head({**network, **head}):
                network.update(head)
                aside = {key: array for key, array in aside.items() if key not in head}
        if aside:
            prefixes = sorted({key.partition(".")[0] for key in aside})
            also = f", where {', '.join(map(ascii, others))} have such networks too" * bool(others)
            _log.warning(
                "Of the checkpoint, the network under %a is taken, and %d tensors under %s are left"
                " aside%s.",
                taken,
                len(aside),
                ", ".join(map(ascii, prefixes[:8])),
                also,
            )
        return network

    def _fits(self, state: State) -> bool:
        with suppress(ValueError):
            return bool(self.config(state))
        return False


def _split(state: State, prefixes: list[str]) -> dict[str, dict[str, np.ndarray]]:
    """Return for each prefix its tensors by name without prefix; the longest prefix counts."""
    parts: dict[str, dict[str, np.ndarray]] = {prefix: {} for prefix in prefixes}
    longest_first = sorted(parts, key=len, reverse=True)
    for key, array in state.items():
        for prefix in longest_first:
            if key.startswith(prefix):
                parts[prefix][key.removeprefix(prefix)] = array
                break
    return parts


def _resnet_of(keys: Iterable[str], block: str, stages: int) -> str:
    """Return the backbone whose first stages have these keys; PortingError if there is none."""
    blocks_of: dict[int, set[int]] = {}
    for key in keys:
        if match := re.match(block, key):
            blocks_of.setdefault(int(match[1]), set()).add(int(match[2]))
    counts = tuple(len(blocks_of[stage]) for stage in sorted(blocks_of))
    for blocks, name in STAGES.items():
        if blocks[:stages] == counts:
            return name
    if not blocks_of:
        example = re.sub(r"\(.*?\)", "1", block).replace("\\", "")
        raise PortingError(
            f"The checkpoint is of another model: none of its keys begins like {example!r}. Its"
            f" first keys: {', '.join(map(ascii, list(keys)[:5]))}."
        )
    raise PortingError(
        f"The checkpoint's backbone has {counts} blocks in its stages; known are"
        f" {', '.join(f'{blocks[:stages]} ({name})' for blocks, name in STAGES.items())}."
    )


def width_of(state: State, key: str, axis: int = 0) -> int:
    """Return the size of a kernel along `axis`; raise PortingError if there is no such kernel."""
    if key not in state or state[key].ndim not in (2, 4):
        fault = f"its shape is {state[key].shape}" if key in state else "there is none"
        raise PortingError(f"The checkpoint must hold a kernel {key!r}; {fault}.")
    return int(state[key].shape[axis])

"""The upstream checkpoints that can be ported, by the name of their layout."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from dolg_zoo.checkpoints.porting import dongkyuk_pytorch, official_paddle, official_pytorch
from dolg_zoo.checkpoints.porting.margin_head import MarginHead

State = Mapping[str, np.ndarray]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Layout:
    """What is to be known of an upstream's checkpoints: three pure functions of a state dict.

    Attributes:
        config: the values of `DOLGConfig` in which a checkpoint differs from its variant.
        weights: our variables, from a state dict and their paths and shapes.
        margin_head: the head that the checkpoint was trained under, or None if it holds none.
        anchor: the name of a tensor that each of these networks has, and few others.
        head: the names of the margin head's tensors.

    Each function raises a `PortingError` for a state dict that is not of this layout.
    """

    config: Callable[[State], dict[str, Any]]
    weights: Callable[[State, Mapping[str, tuple[int, ...]]], dict[str, np.ndarray]]
    margin_head: Callable[[State], MarginHead | None]
    anchor: str
    head: tuple[str, ...] = ()

    def network_in(self, state: State) -> State:
        """Return the tensors of the network and its margin head, by the names of this layout.

        A network that was a part of another module has a prefix before its names, `model.` or
        `student.module.`. A warning in the log says what is left aside. Of several networks the
        one of most tensors is taken, then that with the shortest prefix, then the first in the
        file.
        """
        ends = [key for key in state if f".{key}".endswith(f".{self.anchor}")]
        parts = _apart(state, [key.removesuffix(self.anchor) for key in ends])
        fitting = [prefix for prefix in parts if self._fits(parts[prefix])] or [*parts]
        if not fitting:
            return state
        order = sorted(fitting, key=lambda prefix: (-len(parts[prefix]), prefix.count(".")))
        taken, *others = order
        network, inside = parts[taken], {taken + key for key in parts[taken]}
        aside = {key: array for key, array in state.items() if key not in inside}
        head = {key: aside[key] for key in self.head if key in aside and key not in network}
        with suppress(ValueError):  # a loss of another kind may have tensors of that name
            if head and self.margin_head({**network, **head}):
                network.update(head)
                aside = {key: array for key, array in aside.items() if key not in head}
        if aside:
            under = sorted({key.partition(".")[0] for key in aside})
            also = f", where {', '.join(map(ascii, others))} have such networks too" * bool(others)
            _log.warning(
                "Of the checkpoint, the network under %a is taken, and %d tensors under %s are left"
                " aside%s.",
                taken,
                len(aside),
                ", ".join(map(ascii, under[:8])),
                also,
            )
        return network

    def _fits(self, state: State) -> bool:
        with suppress(ValueError):
            return bool(self.config(state))
        return False


def _apart(state: State, prefixes: list[str]) -> dict[str, dict[str, np.ndarray]]:
    """Return the tensors under each prefix by their names after it; the longest prefix counts."""
    parts: dict[str, dict[str, np.ndarray]] = {prefix: {} for prefix in prefixes}
    longest_first = sorted(parts, key=len, reverse=True)
    for key, array in state.items():
        for prefix in longest_first:
            if key.startswith(prefix):
                parts[prefix][key.removeprefix(prefix)] = array
                break
    return parts


LAYOUTS = {
    "official_pytorch": Layout(
        official_pytorch.official_config,
        official_pytorch.port_official_pytorch,
        official_pytorch.official_margin_head,
        "fc_t.weight",
        official_pytorch.UNUSED,
    ),
    "official_paddle": Layout(
        official_paddle.official_paddle_config,
        official_paddle.port_official_paddle,
        lambda state: None,  # the Paddle port is for inference alone
        "fc_t.weight",
    ),
    "dongkyuk_pytorch": Layout(
        dongkyuk_pytorch.dongkyuk_config,
        dongkyuk_pytorch.port_dongkyuk_pytorch,
        dongkyuk_pytorch.dongkyuk_margin_head,
        "fc_1.weight",
        dongkyuk_pytorch.UNUSED[:1],
    ),
}

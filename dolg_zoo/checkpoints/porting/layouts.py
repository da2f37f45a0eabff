"""The upstream checkpoints that can be ported, by the name of their layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dolg_zoo.checkpoints.porting import dongkyuk_pytorch, official_paddle, official_pytorch
from dolg_zoo.checkpoints.porting.margin_head import MarginHead

State = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Layout:
    """What is to be known of an upstream's checkpoints: three pure functions of a state dict.

    Attributes:
        config: the values of `DOLGConfig` in which a checkpoint differs from its variant.
        weights: our variables, from a state dict and their paths and shapes.
        margin_head: the head that the checkpoint was trained under, or None if it holds none.

    Each raises a `PortingError` for a state dict that is not of this layout.
    """

    config: Callable[[State], dict[str, Any]]
    weights: Callable[[State, Mapping[str, tuple[int, ...]]], dict[str, np.ndarray]]
    margin_head: Callable[[State], MarginHead | None]


LAYOUTS = {
    "official_pytorch": Layout(
        official_pytorch.official_config,
        official_pytorch.port_official_pytorch,
        official_pytorch.official_margin_head,
    ),
    "official_paddle": Layout(
        official_paddle.official_paddle_config,
        official_paddle.port_official_paddle,
        lambda state: None,  # the Paddle port is for inference alone
    ),
    "dongkyuk_pytorch": Layout(
        dongkyuk_pytorch.dongkyuk_config,
        dongkyuk_pytorch.port_dongkyuk_pytorch,
        dongkyuk_pytorch.dongkyuk_margin_head,
    ),
}

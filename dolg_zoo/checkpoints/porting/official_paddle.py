"""feymanpriv/DOLG-paddle: the official port for inference, without MultiAtrous."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dolg_zoo.checkpoints.porting.official_pytorch import BLOCK, port_official_pytorch
from dolg_zoo.checkpoints.porting.resnet_depth import resnet_of, width_of
from dolg_zoo.errors import PortingError

# Paddle keeps these as (in, out), as Keras does and PyTorch does not
TRANSPOSED = ("fc_t.weight", "fc.weight")


def official_paddle_config(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the architecture of a checkpoint as values of `DOLGConfig`."""
    backbone = resnet_of(state, BLOCK)
    if any(key.endswith(".running_mean") for key in state):
        raise PortingError("The checkpoint names its batch norms' statistics as PyTorch does.")
    return {
        "backbone": backbone,
        "hidden_dim": width_of(state, "fc_t.weight", axis=1),
        "descriptor_dim": width_of(state, "fc.weight", axis=1),
        "gem_power": "fixed",  # at 3.0, whatever power the weights were trained with
        "gem_p": 3.0,
    }


def port_official_paddle(
    state: Mapping[str, np.ndarray], targets: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """Return the Paddle state dict as variables of `DOLGNet` over our resnet50, 101 or 152.

    Its keys are those of the PyTorch code but for the statistics of the batch norms, and so is its
    order of channels: it was made from those weights, and takes BGR.

    Args:
        state: key to array.
        targets: path to shape of each of the network's variables.

    Returns:
        An array for each of `targets`.

    Raises:
        PortingError: if the two do not fit; lists the difference.
    """
    state = {key: array.T if key in TRANSPOSED else array for key, array in state.items()}
    return port_official_pytorch(state, targets)

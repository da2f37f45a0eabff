"""dongkyuk/DOLG-pytorch: its state dicts, over timm's tv_resnet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dolg_zoo.checkpoints.porting.margin_head import MarginHead, centers_in
from dolg_zoo.checkpoints.porting.resnet_depth import resnet_of, width_of
from dolg_zoo.checkpoints.porting.timm import resnet_layer
from dolg_zoo.checkpoints.porting.torch_layout import holds_floats, port
from dolg_zoo.errors import PortingError

HEAD = {
    "gem_pool": "gem",
    "fc_1": "global_projection",
    "fc_2": "descriptor",
    "local_branch.conv1x1_1": "local_branch/reduce_conv",
    "local_branch.conv1x1_2": "local_branch/conv",
    "local_branch.bn": "local_branch/bn",
    "local_branch.conv1x1_3": "local_branch/attention_conv",
    "local_branch.multi_atrous.dilated_convs.0": "local_branch/multi_atrous/dilated_conv_3",
    "local_branch.multi_atrous.dilated_convs.1": "local_branch/multi_atrous/dilated_conv_6",
    "local_branch.multi_atrous.dilated_convs.2": "local_branch/multi_atrous/dilated_conv_9",
    "local_branch.multi_atrous.dilated_convs.3.1": "local_branch/multi_atrous/average_conv",
}
UNUSED = (
    "criterion.weight",  # of the training head: `dongkyuk_margin_head` has it
    # the same tensors as dilated_convs.3.1: upstream registers the branch twice
    "local_branch.multi_atrous.gap_branch.1.weight",
    "local_branch.multi_atrous.gap_branch.1.bias",
)
SCALE, MARGIN = 30.0, 0.15  # upstream's; they follow from its logits in the golden outputs


def dongkyuk_config(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the architecture of a checkpoint as values of `DOLGConfig`."""
    backbone = resnet_of(state, r"cnn\.layer(\d)\.(\d+)\.", stages=3)
    hidden_dim = width_of(state, "fc_1.weight")
    power = state.get("gem_pool.p")
    if power is None or power.size != 1 or not holds_floats(power):
        raise PortingError("The checkpoint must hold one number 'gem_pool.p', GeM's power.")
    return {
        "backbone": backbone,
        "hidden_dim": hidden_dim,
        "attention_channels": hidden_dim,
        "atrous_filters": width_of(state, "local_branch.multi_atrous.dilated_convs.0.weight"),
        "descriptor_dim": width_of(state, "fc_2.weight"),
        "gem_p": float(power.item()),
    }


def port_dongkyuk_pytorch(
    state: Mapping[str, np.ndarray], targets: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """Return dongkyuk's state dict as variables of `DOLGNet(config=DOLGConfig.dongkyuk())`.

    Args:
        state: key to array.
        targets: path to shape of each of the network's variables.

    Returns:
        An array for each of `targets`.

    Raises:
        PortingError: if the two do not fit; lists the difference.
    """
    # upstream's GeM power is no parameter, so it is part of the configuration, not a variable
    unused = UNUSED if "gem/p" in targets else (*UNUSED, "gem_pool.p")
    ported = port(state, targets, _layer_of, unused=unused)
    # upstream joins the average branch last, we join it first
    kernel = ported["local_branch/reduce_conv/kernel"]
    branch = targets["local_branch/multi_atrous/average_conv/bias"][0]
    ported["local_branch/reduce_conv/kernel"] = np.roll(kernel, branch, axis=2)
    return ported


def dongkyuk_margin_head(state: Mapping[str, np.ndarray]) -> MarginHead | None:
    """Return the ArcFace head that the checkpoint was trained under, if it holds one."""
    if "criterion.weight" not in state:
        return None
    centers = centers_in(state, "criterion.weight", width_of(state, "fc_2.weight"))
    return MarginHead("ArcFace", SCALE, MARGIN, {"centers": centers})


def _layer_of(module: str) -> str | None:
    if module.startswith("cnn."):
        return resnet_layer(module.removeprefix("cnn."))
    return HEAD.get(module)

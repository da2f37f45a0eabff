"""feymanpriv/DOLG: the official PyTorch checkpoints, with MultiAtrous or without."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from dolg_zoo.checkpoints.porting.margin_head import MarginHead, centers_in
from dolg_zoo.checkpoints.porting.resnet_depth import resnet_of, width_of
from dolg_zoo.checkpoints.porting.torch_layout import port
from dolg_zoo.errors import PortingError

BLOCK = r"globalmodel\.s(\d)\.b(\d+)\."

HEAD = {
    "pool_g": "gem",
    "fc_t": "global_projection",
    "fc": "descriptor",
    "localmodel.conv1": "local_branch/conv",
    "localmodel.bn": "local_branch/bn",
    "localmodel.conv2": "local_branch/attention_conv",
    "localmodel.aspp.im_pool.1": "local_branch/multi_atrous/average_conv",
    "localmodel.aspp.aspp.0": "local_branch/multi_atrous/pointwise_conv",
    "localmodel.aspp.aspp.1": "local_branch/multi_atrous/dilated_conv_6",
    "localmodel.aspp.aspp.2": "local_branch/multi_atrous/dilated_conv_12",
    "localmodel.aspp.aspp.3": "local_branch/multi_atrous/dilated_conv_18",
    "localmodel.aspp.conv_after.0": "local_branch/reduce_conv",
    "globalmodel.stem.conv": "stem_conv",
    "globalmodel.stem.bn": "stem_bn",
}
# of the training head, which a descriptor does not need: `official_margin_head` has them
UNUSED = ("desc_cls.weight", "desc_cls.t")
SCALE, MARGIN = 30.0, 0.15  # in the configuration that the weights were trained with


def official_config(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the architecture of a checkpoint as values of `DOLGConfig`."""
    backbone = resnet_of(state, BLOCK)
    if any(key.endswith("._mean") for key in state):
        raise PortingError("The checkpoint names its batch norms' statistics as Paddle does.")
    config = {
        "backbone": backbone,
        "hidden_dim": width_of(state, "fc_t.weight"),
        "descriptor_dim": width_of(state, "fc.weight"),
    }
    if any(key.startswith("localmodel.aspp.") for key in state):
        config["dilation_rates"] = (6, 12, 18)
        config["atrous_filters"] = width_of(state, "localmodel.aspp.aspp.0.weight")
    return config


def port_official_pytorch(
    state: Mapping[str, np.ndarray], targets: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """Return the official state dict as variables of `DOLGNet` over our resnet50, 101 or 152.

    Upstream was trained on BGR; the first convolution's input channels are flipped, so that ours
    takes RGB.

    Args:
        state: key to array, as in the checkpoint's `model_state`.
        targets: path to shape of each of the network's variables.

    Returns:
        An array for each of `targets`.

    Raises:
        PortingError: if the two do not fit; lists the difference.
    """
    ported = port(state, targets, _layer_of, unused=UNUSED)
    ported["stem_conv/kernel"] = ported["stem_conv/kernel"][:, :, ::-1]
    return ported


def official_margin_head(state: Mapping[str, np.ndarray]) -> MarginHead | None:
    """Return the CurricularFace head that the checkpoint was trained under, if it holds one."""
    if "desc_cls.weight" not in state:
        return None
    centers = centers_in(state, "desc_cls.weight", width_of(state, "fc.weight"))
    t = state.get("desc_cls.t", np.zeros(1, "float32"))
    if t.size != 1:
        raise PortingError(f"'desc_cls.t' must be one number; its shape is {t.shape}.")
    return MarginHead("CurricularFace", SCALE, MARGIN, {"centers": centers, "t": t.reshape(())})


def _layer_of(module: str) -> str | None:
    if module in HEAD:
        return HEAD[module]
    block = re.fullmatch(r"globalmodel\.(s\d)\.(b\d+)\.(?:f\.)?(\w+)", module)
    if not block:
        return None
    return "_".join(block.groups())

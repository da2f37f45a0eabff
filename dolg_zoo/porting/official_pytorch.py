"""feymanpriv/DOLG: the official PyTorch checkpoints, with MultiAtrous or without."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from dolg_zoo.porting.torch_layout import port

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
# of the training head, which a descriptor does not need
UNUSED = ("desc_cls.weight", "desc_cls.t")


def port_official_pytorch(
    state: Mapping[str, np.ndarray], targets: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """The official state dict as variables of `DOLGNet` over our resnet50, 101 or 152.

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


def _layer_of(module: str) -> str | None:
    if module in HEAD:
        return HEAD[module]
    block = re.fullmatch(r"globalmodel\.(s\d)\.(b\d+)\.(?:f\.)?(\w+)", module)
    if not block:
        return None
    return "_".join(block.groups())

"""dongkyuk/DOLG-pytorch: its state dicts, over timm's tv_resnet."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from dolg_zoo.porting.torch_layout import port

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
    "cnn.conv1": "stem_conv",
    "cnn.bn1": "stem_bn",
}
PARTS = {
    "conv1": "a",
    "bn1": "a_bn",
    "conv2": "b",
    "bn2": "b_bn",
    "conv3": "c",
    "bn3": "c_bn",
    "downsample.0": "proj",
    "downsample.1": "bn",
}
UNUSED = (
    "criterion.weight",  # of the training head
    # the same tensors as dilated_convs.3.1: upstream registers the branch twice
    "local_branch.multi_atrous.gap_branch.1.weight",
    "local_branch.multi_atrous.gap_branch.1.bias",
)


def port_dongkyuk_pytorch(
    state: Mapping[str, np.ndarray], targets: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """dongkyuk's state dict as variables of `DOLGNet(config=DOLGConfig.dongkyuk())`.

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


def _layer_of(module: str) -> str | None:
    if module in HEAD:
        return HEAD[module]
    block = re.fullmatch(r"cnn\.layer(\d)\.(\d+)\.(.+)", module)
    if not block or block[3] not in PARTS:
        return None
    return f"s{block[1]}_b{int(block[2]) + 1}_{PARTS[block[3]]}"

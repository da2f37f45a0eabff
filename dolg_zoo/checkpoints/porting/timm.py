"""Port timm's ImageNet weights of ResNet, ResNeSt, NFNet, ECA-NFNet and EfficientNet-Lite."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from dolg_zoo.checkpoints.porting.torch_layout import port

# ImageNet's classifier, which a descriptor does not need
UNUSED = tuple(
    f"{module}.{leaf}" for module in ("fc", "head.fc", "classifier") for leaf in ("weight", "bias")
)

STEM = {"conv1": "stem_conv", "bn1": "stem_bn"}
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

LITE_STEM_AND_TOP = {
    "conv_stem": "stem_conv",
    "bn1": "stem_bn",
    "conv_head": "top_conv",
    "bn2": "top_bn",
}
# The first stage has no expansion.
LITE_FIRST = {"conv_dw": "dwconv", "bn1": "bn", "conv_pw": "project_conv", "bn2": "project_bn"}
LITE_PARTS = {
    "conv_pw": "expand_conv",
    "bn1": "expand_bn",
    "conv_dw": "dwconv",
    "bn2": "bn",
    "conv_pwl": "project_conv",
    "bn3": "project_bn",
}


def port_timm(
    state: Mapping[str, np.ndarray], targets: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """Return the weights of a timm model as variables of our backbone of the same architecture.

    The backbone is a ResNet (50, 101 or 152; torchvision has the same names), ResNeSt, NFNet
    (timm's dm_nfnet), ECA-NFNet or EfficientNet-Lite (timm's tf_efficientnet_lite). Values of
    kernels are not changed: the layers of an NFNet standardise their kernels at run time.

    Args:
        state: key to array.
        targets: path to shape of each of the backbone's variables.

    Returns:
        An array for each of `targets`.

    Raises:
        PortingError: if state and targets do not fit; the message lists the differences.
    """
    if "s1_b1_a/kernel" in targets:
        return port(state, targets, resnet_layer, unused=UNUSED)
    if "block1a_dwconv/kernel" in targets:
        return port(state, targets, _lite_layer, unused=UNUSED)
    return port(state, targets, lambda module: module.replace(".", "_"), unused=UNUSED)


def resnet_layer(module: str) -> str | None:
    """Return our ResNet's layer for the module path of timm or torchvision, or None."""
    block = re.fullmatch(r"layer(\d)\.(\d+)\.(.+)", module)
    if not block or block[3] not in PARTS:
        return STEM.get(module)
    return f"s{block[1]}_b{int(block[2]) + 1}_{PARTS[block[3]]}"


def _lite_layer(module: str) -> str | None:
    block = re.fullmatch(r"blocks\.(\d)\.(\d+)\.(\w+)", module)
    if not block:
        return LITE_STEM_AND_TOP.get(module)
    part = (LITE_FIRST if block[1] == "0" else LITE_PARTS).get(block[3])
    return part and f"block{int(block[1]) + 1}{chr(ord('a') + int(block[2]))}_{part}"

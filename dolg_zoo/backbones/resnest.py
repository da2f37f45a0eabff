"""ResNeSt: ResNet-D whose 3x3 convolutions are split in two, with attention between the halves.

Zhang et al., arXiv 2004.08955, radix 2, cardinality 1. The stem has three convolutions. Average
pooling halves the map: after the 3x3 convolution of a block, and before the shortcut's convolution.

Layer names follow timm's state dict with `_` for `.`: `layer1.0.conv2.fc1.weight` is the kernel of
the layer `layer1_0_conv2_fc1`. The layer `layer1_0` gives the output of a block.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers, ops

from dolg_zoo._util.types import Shape, Tensor
from dolg_zoo.backbones.convolution import batch_norm, call_new, conv_bn


def resnest(
    blocks: Sequence[int], stem_width: int, width: int = 64, input_shape: Shape = (None, None, 3)
) -> tuple[keras.Model, dict[str, str]]:
    """Return the network to (batch, H/32, W/32, 32 * width) and the layers of "P2" to "P5"."""
    image = keras.Input(input_shape)
    x = _conv_bn_relu(image, stem_width, 3, 2, "conv1_0", "conv1_1")
    x = _conv_bn_relu(x, stem_width, 3, 1, "conv1_3", "conv1_4")
    x = _conv_bn_relu(x, 2 * stem_width, 3, 1, "conv1_6", "bn1")
    # PyTorch pads the maximum with -inf. After a ReLU nothing is below zero, so zeros do the same.
    x = layers.ZeroPadding2D(1, name="maxpool_pad")(x)
    x = layers.MaxPooling2D(3, 2, name="maxpool")(x)
    levels = {}
    for stage, count in enumerate(blocks, start=1):
        for block in range(count):
            stride = 2 if block == 0 and stage > 1 else 1
            x = _bottleneck(x, width * 2 ** (stage - 1), stride, f"layer{stage}_{block}")
        levels[f"P{stage + 1}"] = f"layer{stage}_{count - 1}"
    return keras.Model(image, x, name="resnest"), levels


def _bottleneck(x: Tensor, width: int, stride: int, name: str) -> Tensor:
    shortcut = x
    if stride != 1 or x.shape[-1] != 4 * width:
        if stride > 1:  # the average excludes padding
            shortcut = layers.AveragePooling2D(2, 2, "same", name=f"{name}_downsample_0")(x)
        convolution, norm = f"{name}_downsample_1", f"{name}_downsample_2"
        shortcut = conv_bn(shortcut, 4 * width, 1, 1, convolution, norm)
    x = _conv_bn_relu(x, width, 1, 1, f"{name}_conv1", f"{name}_bn1")
    x = _split_attention(x, width, f"{name}_conv2")
    if stride > 1:  # this average includes padding
        x = layers.ZeroPadding2D(1, name=f"{name}_avd_last_pad")(x)
        x = layers.AveragePooling2D(3, 2, name=f"{name}_avd_last")(x)
    x = conv_bn(x, 4 * width, 1, 1, f"{name}_conv3", f"{name}_bn3")
    # the shortcut is first, since Keras follows inputs recursively and it is the shorter path
    return layers.ReLU(name=name)(layers.Add(name=f"{name}_add")([shortcut, x]))


def _split_attention(x: Tensor, width: int, name: str) -> Tensor:
    """Return the weighted sum of two maps, with a softmax over the two for each channel."""
    x = _conv_bn_relu(x, 2 * width, 3, 1, f"{name}_conv", f"{name}_bn0", groups=2)
    first, second = ops.split(x, 2, axis=-1)
    a = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(first + second)
    a = call_new(layers.Conv2D(max(width // 2, 32), 1, name=f"{name}_fc1"), a)
    a = layers.ReLU(name=f"{name}_act1")(batch_norm(a, f"{name}_bn1"))
    a = call_new(layers.Conv2D(2 * width, 1, name=f"{name}_fc2"), a)
    # a softmax over two is a sigmoid of their difference
    a_first, a_second = ops.split(a, 2, axis=-1)
    share = layers.Activation("sigmoid", name=f"{name}_rsoftmax")(a_first - a_second)
    return second + share * (first - second)


def _conv_bn_relu(
    x: Tensor, filters: int, kernel: int, stride: int, name: str, bn: str, groups: int = 1
) -> Tensor:
    x = conv_bn(x, filters, kernel, stride, name, bn, groups)
    return layers.ReLU(name=f"{bn}_relu")(x)

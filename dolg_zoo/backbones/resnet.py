"""ResNet v1.5 with PyTorch's padding: the backbone of the official DOLG weights.

He et al., arXiv 1512.03385, with the stride on the 3x3 convolution ("v1.5", as in torchvision and
pycls). Padding is explicit: Keras' "same" puts an odd pixel right and below, PyTorch pads all sides
equally, and the weights need PyTorch's.

Layer names follow the official state dict: `globalmodel.s1.b1.f.a.weight` is the kernel of the
layer `s1_b1_a`, `globalmodel.s1.b1.f.a_bn.*` are the variables of `s1_b1_a_bn`, and likewise
`s1_b1_proj` and `s1_b1_bn` (its batch normalisation), `stem_conv` and `stem_bn`.
"""

from __future__ import annotations

import keras
from keras import layers

from dolg_zoo._util.types import Shape, Tensor
from dolg_zoo.backbones.convolution import conv_bn

# Blocks in each of the four stages.
_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def resnet(depth: int, input_shape: Shape = (None, None, 3)) -> tuple[keras.Model, dict[str, str]]:
    """Return the network to (batch, H/32, W/32, 2048) and the layer names of "P2" to "P5"."""
    if depth not in _BLOCKS:
        raise ValueError(f"No ResNet of depth {depth}; there are {sorted(_BLOCKS)}.")
    image = keras.Input(input_shape)
    x = conv_bn(image, 64, 7, 2, "stem_conv", "stem_bn")
    x = layers.ReLU(name="stem_relu")(x)
    # PyTorch pads the maximum with -inf. After a ReLU nothing is below zero, so zeros do the same.
    x = layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
    x = layers.MaxPooling2D(3, 2, name="stem_pool")(x)
    levels = {}
    for stage, blocks in enumerate(_BLOCKS[depth], start=1):
        for block in range(1, blocks + 1):
            stride = 2 if block == 1 and stage > 1 else 1
            x = _bottleneck(x, 32 * 2**stage, stride, f"s{stage}_b{block}")
        levels[f"P{stage + 1}"] = f"s{stage}_b{blocks}_out"
    return keras.Model(image, x, name=f"resnet{depth}"), levels


def _bottleneck(x: Tensor, width: int, stride: int, name: str) -> Tensor:
    shortcut = x
    if stride != 1 or x.shape[-1] != 4 * width:
        shortcut = conv_bn(x, 4 * width, 1, stride, f"{name}_proj", f"{name}_bn")
    x = conv_bn(x, width, 1, 1, f"{name}_a", f"{name}_a_bn")
    x = layers.ReLU(name=f"{name}_a_relu")(x)
    x = conv_bn(x, width, 3, stride, f"{name}_b", f"{name}_b_bn")
    x = layers.ReLU(name=f"{name}_b_relu")(x)
    x = conv_bn(x, 4 * width, 1, 1, f"{name}_c", f"{name}_c_bn")
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.ReLU(name=f"{name}_out")(x)

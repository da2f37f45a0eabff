"""EfficientNet-Lite, the backbone of the preset in the package, with keras-cv's variable names.

Tan and Le, arXiv 1905.11946, without squeeze-and-excite, with ReLU6, stem and top not widened
(tensorflow/tpu, efficientnet/lite). Built here because importing keras-cv takes a second.
"""

from __future__ import annotations

import math

import keras
from keras import layers

from dolg_zoo._util.types import Shape, Tensor
from dolg_zoo.backbones.convolution import call_new

# One row per stage: repeats, kernel, stride, expansion, filters
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_BLOCKS = sum(repeats for repeats, *_ in _STAGES)
_DROPPED = 0.2  # dropout rate of the last block; it rises linearly from the first block


def efficientnet_lite(
    width: float, depth: float, input_shape: Shape = (None, None, 3)
) -> tuple[keras.Model, dict[str, str]]:
    """Return the network to (batch, H/32, W/32, 1280) and the layer names of "P2" to "P5"."""
    # `depth` scales all stages except the first and the last
    image = keras.Input(input_shape)
    x = layers.ZeroPadding2D(_padding(image, 3), name="stem_conv_pad")(image)
    x = _conv(x, 32, 3, "stem_conv", "stem_bn", strides=2)
    x = layers.Activation("relu6", name="stem_activation")(x)
    ends, number = [], 0
    for stage, (repeats, kernel, stride, expansion, filters) in enumerate(_STAGES, start=1):
        if 1 < stage < len(_STAGES):
            repeats = math.ceil(depth * repeats)
        for block in range(repeats):
            if stride == 2 and block == 0:
                ends.append(x)
            x = _block(
                x,
                _rounded(width * filters),
                kernel,
                stride if block == 0 else 1,
                expansion,
                _DROPPED * number / _BLOCKS,
                f"block{stage}{chr(ord('a') + block)}_",
            )
            number += 1
    x = _conv(x, 1280, 1, "top_conv", "top_bn")
    x = layers.Activation("relu6", name="top_activation")(x)
    names = [end._keras_history.operation.name for end in (*ends, x)]
    return keras.Model(image, x), dict(zip(("P1", "P2", "P3", "P4", "P5"), names, strict=True))


def _block(
    x: Tensor, filters: int, kernel: int, stride: int, expansion: int, dropped: float, name: str
) -> Tensor:
    shortcut = x
    if expansion > 1:
        x = _conv(x, expansion * x.shape[-1], 1, f"{name}expand_conv", f"{name}expand_bn")
        x = layers.Activation("relu6", name=f"{name}expand_activation")(x)
    if stride == 2:
        x = layers.ZeroPadding2D(_padding(x, kernel), name=f"{name}dwconv_pad")(x)
    depthwise = layers.DepthwiseConv2D(
        kernel,
        stride,
        padding="valid" if stride == 2 else "same",
        use_bias=False,
        depthwise_initializer=_initializer(),
        name=f"{name}dwconv",
    )
    x = layers.BatchNormalization(name=f"{name}bn")(depthwise(x))
    x = layers.Activation("relu6", name=f"{name}activation")(x)
    x = _conv(x, filters, 1, f"{name}project_conv", f"{name}project_bn")
    if stride == 1 and filters == shortcut.shape[-1]:
        if dropped:
            x = layers.Dropout(dropped, noise_shape=(None, 1, 1, 1), name=f"{name}drop")(x)
        x = layers.Add(name=f"{name}add")([x, shortcut])
    return x


def _conv(
    x: Tensor, filters: int, kernel: int, name: str, bn_name: str, strides: int = 1
) -> Tensor:
    conv = layers.Conv2D(
        filters,
        kernel,
        strides,
        "valid" if strides == 2 else "same",
        use_bias=False,
        kernel_initializer=_initializer(),
        name=name,
    )
    return layers.BatchNormalization(name=bn_name)(call_new(conv, x))


def _initializer() -> keras.initializers.Initializer:
    return keras.initializers.VarianceScaling(2.0, "fan_out", "truncated_normal")


def _padding(x: Tensor, kernel: int) -> tuple[tuple[int, int], ...]:
    """Return the padding of TensorFlow's "same" at stride 2; an unknown size counts as even."""
    half = kernel // 2
    return tuple((half - (1 if size is None else 1 - size % 2), half) for size in x.shape[1:3])


def _rounded(filters: float) -> int:
    """Return the multiple of 8 nearest to a number of filters, at most a tenth below it."""
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * filters else rounded + 8

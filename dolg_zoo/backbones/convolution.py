"""Convolutions equal to PyTorch's, for our own backbones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import keras
from keras import layers, ops

from dolg_zoo._util.types import Tensor

_to_be_filled = ContextVar("to_be_filled", default=False)


@contextmanager
def to_be_filled() -> Iterator[None]:
    """Build networks with zero weights, which a file then replaces.

    Drawing 42 million unused random numbers takes longer than reading the file.
    """
    token = _to_be_filled.set(True)
    try:
        yield
    finally:
        _to_be_filled.reset(token)


def call_new(conv: keras.layers.Layer, x: Tensor) -> Tensor:
    """Call a new convolution; within `to_be_filled` its kernel starts at zero."""
    initializer = conv.kernel_initializer
    if _to_be_filled.get():
        conv.kernel_initializer = keras.initializers.Zeros()
    x = conv(x)
    conv.kernel_initializer = initializer  # for clones of this layer
    return x


def conv_bn(
    x: Tensor, filters: int, kernel: int, stride: int, name: str, bn_name: str, groups: int = 1
) -> Tensor:
    """Convolve with PyTorch's padding, equal on all sides, and apply batch normalisation."""
    if kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
    convolution = GroupedConv2D if groups > 1 else layers.Conv2D
    conv = convolution(
        filters,
        kernel,
        stride,
        groups=groups,
        use_bias=False,
        kernel_initializer="he_normal",
        name=name,
    )
    return batch_norm(call_new(conv, x), bn_name)


def batch_norm(x: Tensor, name: str) -> Tensor:
    """Apply batch normalisation with PyTorch's defaults; its momentum of 0.1 is Keras' 0.9."""
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)


@keras.saving.register_keras_serializable(package="dolg_zoo")
class GroupedConv2D(layers.Conv2D):
    """`keras.layers.Conv2D` whose groups are separate plain convolutions."""

    # Keras hands grouped convolutions to XLA, which compiles them for each image size, and some
    # export formats lack them.

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        if self.groups == 1:
            return super().convolution_op(inputs, kernel)
        parts = zip(
            ops.split(inputs, self.groups, axis=-1),
            ops.split(kernel, self.groups, axis=-1),
            strict=True,
        )
        convolve = super().convolution_op
        return ops.concatenate([convolve(part, taps) for part, taps in parts], axis=-1)

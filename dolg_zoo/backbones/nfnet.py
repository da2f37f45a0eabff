"""NFNet: residual networks without normalisation, and ECA-NFNet, their lighter variant.

Brock et al., arXiv 2102.06171: convolutions standardise their kernels (`ScaledStdConv2D`),
activations divide by the expected deviation of their input (`beta`) and rescale their output
(`gamma`), a block adds a part of its branch (`Residual`). ECA-NFNet comes from timm: SiLU,
ECA-Net's attention (arXiv 1910.03151), narrower blocks, PyTorch's padding, no learned gain.

Layer names follow timm's state dict with `_` for `.`: `stages.0.0.conv2b.weight` is the kernel of
the layer `stages_0_0_conv2b`. The layer `stages_0_0` gives the output of a block.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers, ops

from dolg_zoo._util.types import Shape, Tensor
from dolg_zoo.backbones.convolution import GroupedConv2D, call_new


@keras.saving.register_keras_serializable(package="dolg_zoo")
def gelu(x: Tensor) -> Tensor:
    """Return the Gaussian error linear unit in a form that ONNX and LiteRT's converter know."""
    # ONNX lacks Keras' Erfc
    return 0.5 * x * (1.0 + ops.erf(x * 2**-0.5))


_ALPHA = 0.2  # factor of a branch
_ATTENTION_GAIN = 2.0  # an initial sigmoid is about 1/2


@dataclass(frozen=True)
class _Family:
    """The differences between the two families."""

    activation: str | Callable[[Tensor], Tensor]
    gamma: float  # 1 / standard deviation of the activation's output for normal input
    bottleneck: float  # width of a block's inner convolutions / width of its output
    eca: bool  # whether attention is ECA, and padding and gains are timm's


_FAMILIES = {
    "nfnet": _Family(gelu, 1.7015043497085571, 0.5, eca=False),
    "eca_nfnet": _Family("silu", 1.7881293296813965, 0.25, eca=True),
}


def nfnet(
    blocks: Sequence[int],
    family: str = "nfnet",
    features: int = 3072,
    width: int = 256,
    input_shape: Shape = (None, None, 3),
) -> tuple[keras.Model, dict[str, str]]:
    """Return the network to (batch, H/32, W/32, features) and the layer names of "P2" to "P5"."""
    kind = _FAMILIES[family]
    x = image = keras.Input(input_shape)
    for i, stride in enumerate((2, 1, 1, 2), start=1):
        if i > 1:
            x = _act(x, kind, f"stem_act{i}")
        x = _conv(x, width // 2 ** (5 - i), 3, f"stem_conv{i}", kind, stride)
    levels = {}
    variance = 1.0
    for stage, (count, widening) in enumerate(zip(blocks, (1, 2, 6, 6), strict=True)):
        for block in range(count):
            name, stride = f"stages_{stage}_{block}", 2 if block == 0 and stage > 0 else 1
            x = _block(x, widening * width, widening, stride, variance**-0.5, kind, name)
            # the shortcut convolution of a stage's first block resets the variance to 1
            variance = 1 + (block + 1) * _ALPHA**2
        levels[f"P{stage + 2}"] = f"stages_{stage}_{count - 1}"
    x = _act(_conv(x, features, 1, "final_conv", kind), kind, "final_act")
    return keras.Model(image, x, name=family), levels | {"P5": "final_act"}


def _block(
    x: Tensor, width: int, groups: int, stride: int, beta: float, kind: _Family, name: str
) -> Tensor:
    shortcut = x
    x = _act(x, kind, f"{name}_act1", beta)
    if stride > 1 or shortcut.shape[-1] != width:
        shortcut = x
        if stride > 1:  # the average excludes padding
            shortcut = layers.AveragePooling2D(2, 2, "same", name=f"{name}_downsample_pool")(x)
        shortcut = _conv(shortcut, width, 1, f"{name}_downsample_conv", kind)
    inner = int(width * kind.bottleneck)
    x = _conv(x, inner, 1, f"{name}_conv1", kind)
    x = _act(x, kind, f"{name}_act2")
    x = _conv(x, inner, 3, f"{name}_conv2", kind, stride, groups)
    x = _act(x, kind, f"{name}_act2b")
    x = _conv(x, inner, 3, f"{name}_conv2b", kind, 1, groups)
    x = _act(x, kind, f"{name}_act3")
    x = _conv(x, width, 1, f"{name}_conv3", kind, gain="zeros" if kind.eca else "ones")
    x = (_efficient_attention if kind.eca else _squeeze_excite)(x, f"{name}_attn_last")
    # the shortcut is first, since Keras follows inputs recursively and it is the shorter path
    return Residual(_ALPHA * _ATTENTION_GAIN, skipinit=not kind.eca, name=name)([shortcut, x])


def _act(x: Tensor, kind: _Family, name: str, beta: float = 1.0) -> Tensor:
    # in timm's own networks the kernel of the next convolution includes gamma
    return ScaledActivation(kind.activation, beta * (1 if kind.eca else kind.gamma), name=name)(x)


def _conv(
    x: Tensor,
    filters: int,
    kernel: int,
    name: str,
    kind: _Family,
    stride: int = 1,
    groups: int = 1,
    gain: str = "ones",
) -> Tensor:
    padding = "same"  # TensorFlow's: an odd pixel of padding is on the right and below
    if kind.eca and stride > 1:  # PyTorch's padding: equal on all sides
        x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
        padding = "valid"
    conv = ScaledStdConv2D(
        filters,
        kernel,
        stride,
        padding,
        groups=groups,
        gamma=kind.gamma if kind.eca else 1.0,
        gain_initializer=gain,
        kernel_initializer="lecun_normal",
        name=name,
    )
    return call_new(conv, x)


def _squeeze_excite(x: Tensor, name: str) -> Tensor:
    """Apply Squeeze-and-Excitation, arXiv 1709.01507, with half the channels inside."""
    channels = x.shape[-1]
    a = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(x)
    a = call_new(layers.Conv2D(channels // 2, 1, activation="relu", name=f"{name}_fc1"), a)
    a = call_new(layers.Conv2D(channels, 1, activation="sigmoid", name=f"{name}_fc2"), a)
    return layers.Multiply(name=f"{name}_scale")([x, a])


def _efficient_attention(x: Tensor, name: str) -> Tensor:
    """Apply ECA: each channel's weight depends only on the means of neighbouring channels."""
    channels = x.shape[-1]
    size = max(int((math.log2(channels) + 1) / 2) | 1, 3)
    a = layers.GlobalAveragePooling2D(name=f"{name}_pool")(x)
    a = layers.Reshape((channels, 1), name=f"{name}_row")(a)
    conv = layers.Conv1D(
        1, size, padding="same", use_bias=False, activation="sigmoid", name=f"{name}_conv"
    )
    a = layers.Reshape((1, 1, channels), name=f"{name}_column")(call_new(conv, a))
    return layers.Multiply(name=f"{name}_scale")([x, a])


@keras.saving.register_keras_serializable(package="dolg_zoo")
class ScaledStdConv2D(GroupedConv2D):
    """A convolution with scaled weight standardisation (arXiv 2101.08692)."""

    # each output channel's standardised kernel has mean 0 and variance (gain * gamma)^2 / fan-in

    def __init__(
        self,
        *args: Any,
        gamma: float = 1.0,
        epsilon: float = 1e-5,
        gain_initializer: str | dict[str, Any] = "ones",
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.gamma = gamma
        self.epsilon = epsilon
        self.gain_initializer = keras.initializers.get(gain_initializer)

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        # like PyTorch's gain, in the layout of a kernel
        shape = (1, 1, 1, self.filters)
        self.gain = self.add_weight(name="gain", shape=shape, initializer=self.gain_initializer)

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        kernel = ops.cast(kernel, "float32")
        mean, variance = ops.moments(kernel, axes=(0, 1, 2), keepdims=True)
        scale = ops.cast(self.gain, "float32") * (self.gamma * math.prod(kernel.shape[:3]) ** -0.5)
        kernel = (kernel - mean) * (scale * ops.rsqrt(variance + self.epsilon))
        return super().convolution_op(inputs, ops.cast(kernel, inputs.dtype))

    # Keras' convolutions save only kernel and bias, not the variables of a subclass
    save_own_variables = layers.Layer.save_own_variables
    load_own_variables = layers.Layer.load_own_variables

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "gamma": self.gamma,
            "epsilon": self.epsilon,
            "gain_initializer": keras.initializers.serialize(self.gain_initializer),
        }


@keras.saving.register_keras_serializable(package="dolg_zoo")
class ScaledActivation(layers.Layer):
    """An activation, times a constant."""

    def __init__(self, activation: Any, scale: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = keras.activations.get(activation)
        self.scale = scale

    def call(self, x: Tensor) -> Tensor:
        return self.activation(x) * self.scale

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        activation = keras.activations.serialize(self.activation)
        return {**super().get_config(), "activation": activation, "scale": self.scale}


@keras.saving.register_keras_serializable(package="dolg_zoo")
class Residual(layers.Layer):
    """The shortcut plus alpha times the branch, with a learned gain from 0 (arXiv 2002.10444)."""

    def __init__(self, alpha: float, skipinit: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha = alpha
        self.skipinit = skipinit

    def build(self, input_shape: Shape) -> None:
        if self.skipinit:
            self.skipinit_gain = self.add_weight(name="skipinit_gain", initializer="zeros")

    def call(self, inputs: Tensor) -> Tensor:
        shortcut, branch = inputs
        gain = self.skipinit_gain * self.alpha if self.skipinit else self.alpha
        return shortcut + gain * branch

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> Shape:
        return input_shape[0]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha, "skipinit": self.skipinit}

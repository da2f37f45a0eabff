"""NFNet: residual networks without normalisation, and ECA-NFNet, their lighter kin.

Architecture: Brock et al., arXiv 2102.06171. Signals keep their variance by design: convolutions
standardise their kernels (`ScaledStdConv2D`), activations divide by the expected standard
deviation of what they take (`beta`) and correct for what they take away (`gamma`), and a block adds
only a part of its branch (`Residual`). ECA-NFNet is timm's: SiLU, the attention of ECA-Net (arXiv
1910.03151), narrower blocks, PyTorch's padding, no learned gain of a branch.

Layer names follow timm's state dict with `_` for `.`: `stages.0.0.conv2b.weight` is the kernel of
the layer `stages_0_0_conv2b`. The output of a block is that of the layer `stages_0_0`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
from keras import layers, ops

from dolg_zoo.backbones.convolution import GroupedConv2D, call_new


@keras.saving.register_keras_serializable(package="dolg_zoo")
def gelu(x):
    """Return the Gaussian error linear unit, without Keras' Erfc, which ONNX does not have.

    Written like this, LiteRT's converter takes it for the operation it is.
    """
    return 0.5 * x * (1.0 + ops.erf(x * 2**-0.5))


_ALPHA = 0.2  # how much of a branch is added
_ATTENTION_GAIN = 2.0  # a sigmoid of about zero halves


@dataclass(frozen=True)
class _Family:
    """How the two families differ.

    Attributes:
        activation: Its name in Keras, or the function.
        gamma: The reciprocal of the standard deviation of the activation's output for a normally
            distributed input.
        bottleneck: The width of a block's inner convolutions over that of its output.
        eca: Whether the attention is ECA, and padding and gains are timm's own.
    """

    activation: str | Callable
    gamma: float
    bottleneck: float
    eca: bool


_FAMILIES = {
    "nfnet": _Family(gelu, 1.7015043497085571, 0.5, eca=False),
    "eca_nfnet": _Family("silu", 1.7881293296813965, 0.25, eca=True),
}


def nfnet(
    blocks: Sequence[int],
    family: str = "nfnet",
    features: int = 3072,
    width: int = 256,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
) -> tuple[keras.Model, dict[str, str]]:
    """Build an NFNet or ECA-NFNet, without a classifier, with new weights.

    Args:
        blocks: The number of blocks in each of the four stages.
        family: "nfnet" or "eca_nfnet".
        features: The channels of the last convolution.
        width: The channels of the first stage; the others have 2, 6 and 6 times as many.
        input_shape: (height, width, channels); height and width may be None.

    Returns:
        The network, whose output is the activation (batch, H/32, W/32, features) of the last
        convolution, and the names of the layers at strides 4, 8, 16 and 32 as "P2" to "P5".
    """
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
            # the first block of a stage has a convolution as its shortcut, which makes it 1 again
            variance = 1 + (block + 1) * _ALPHA**2
        levels[f"P{stage + 2}"] = f"stages_{stage}_{count - 1}"
    x = _act(_conv(x, features, 1, "final_conv", kind), kind, "final_act")
    return keras.Model(image, x, name=family), levels | {"P5": "final_act"}


def _block(x, width: int, groups: int, stride: int, beta: float, kind: _Family, name: str):
    shortcut = x
    x = _act(x, kind, f"{name}_act1", beta)
    if stride > 1 or shortcut.shape[-1] != width:
        shortcut = x
        if stride > 1:  # an average is of those pixels that there are
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
    # Keras walks back through the network, one call in another: the shortcut is its shorter way.
    return Residual(_ALPHA * _ATTENTION_GAIN, skipinit=not kind.eca, name=name)([shortcut, x])


def _act(x, kind: _Family, name: str, beta: float = 1.0):
    # timm's own networks have gamma in the kernel of the next convolution
    return ScaledActivation(kind.activation, beta * (1 if kind.eca else kind.gamma), name=name)(x)


def _conv(
    x,
    filters: int,
    kernel: int,
    name: str,
    kind: _Family,
    stride: int = 1,
    groups: int = 1,
    gain: str = "ones",
):
    padding = "same"  # where an odd number of pixels is missing: right and below, as in TensorFlow
    if kind.eca and stride > 1:  # as in PyTorch: on all sides alike
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


def _squeeze_excite(x, name: str):
    """Squeeze-and-Excitation, arXiv 1709.01507, with half the channels inside."""
    channels = x.shape[-1]
    a = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(x)
    a = call_new(layers.Conv2D(channels // 2, 1, activation="relu", name=f"{name}_fc1"), a)
    a = call_new(layers.Conv2D(channels, 1, activation="sigmoid", name=f"{name}_fc2"), a)
    return layers.Multiply(name=f"{name}_scale")([x, a])


def _efficient_attention(x, name: str):
    """ECA: how much of a channel depends on its neighbours' means alone."""
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
    """A convolution with scaled weight standardisation (arXiv 2101.08692).

    The kernel of each output channel is shifted to mean zero and scaled to the variance
    (gain * gamma)^2 / fan-in when it is used; the weights stay as they are.

    Args:
        filters: Channels of the output.
        kernel_size: Height and width of the kernel.
        strides: Pixels from one position to the next.
        padding: "same" or "valid".
        gamma: Makes up for what the activation before takes away.
        epsilon: Is added to the variance of a kernel.
        gain_initializer: What the learned gain of each output channel starts as.
        **kwargs: What `keras.layers.Conv2D` takes besides.
    """

    def __init__(
        self,
        filters,
        kernel_size,
        strides=1,
        padding="valid",
        *,
        gamma=1.0,
        epsilon=1e-5,
        gain_initializer="ones",
        **kwargs,
    ):
        super().__init__(filters, kernel_size, strides, padding, **kwargs)
        self.gamma = gamma
        self.epsilon = epsilon
        self.gain_initializer = keras.initializers.get(gain_initializer)

    def build(self, input_shape):
        super().build(input_shape)
        # of the shape of PyTorch's, laid out as a kernel
        shape = (1, 1, 1, self.filters)
        self.gain = self.add_weight(name="gain", shape=shape, initializer=self.gain_initializer)

    def convolution_op(self, inputs, kernel):
        kernel = ops.cast(kernel, "float32")
        mean, variance = ops.moments(kernel, axes=(0, 1, 2), keepdims=True)
        scale = ops.cast(self.gain, "float32") * (self.gamma * math.prod(kernel.shape[:3]) ** -0.5)
        kernel = (kernel - mean) * (scale * ops.rsqrt(variance + self.epsilon))
        return super().convolution_op(inputs, ops.cast(kernel, inputs.dtype))

    # Keras' convolutions save their kernel and bias, and nothing that a subclass adds
    save_own_variables = layers.Layer.save_own_variables
    load_own_variables = layers.Layer.load_own_variables

    def get_config(self):
        return {
            **super().get_config(),
            "gamma": self.gamma,
            "epsilon": self.epsilon,
            "gain_initializer": keras.initializers.serialize(self.gain_initializer),
        }


@keras.saving.register_keras_serializable(package="dolg_zoo")
class ScaledActivation(layers.Layer):
    """An activation, times a constant."""

    def __init__(self, activation, scale, **kwargs):
        super().__init__(**kwargs)
        self.activation = keras.activations.get(activation)
        self.scale = scale

    def call(self, x):
        return self.activation(x) * self.scale

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        activation = keras.activations.serialize(self.activation)
        return {**super().get_config(), "activation": activation, "scale": self.scale}


@keras.saving.register_keras_serializable(package="dolg_zoo")
class Residual(layers.Layer):
    """The shortcut plus a part of the branch: alpha of it, and of that a learned gain.

    Args:
        alpha: A constant.
        skipinit: Whether there is the gain, which starts at zero (SkipInit, arXiv 2002.10444).
        **kwargs: What `keras.layers.Layer` takes.
    """

    def __init__(self, alpha, skipinit, **kwargs):
        super().__init__(**kwargs)
        self.alpha = alpha
        self.skipinit = skipinit

    def build(self, input_shape):
        if self.skipinit:
            self.skipinit_gain = self.add_weight(name="skipinit_gain", initializer="zeros")

    def call(self, inputs):
        shortcut, branch = inputs
        gain = self.skipinit_gain * self.alpha if self.skipinit else self.alpha
        return shortcut + gain * branch

    def compute_output_shape(self, input_shape):
        return input_shape[0]

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha, "skipinit": self.skipinit}

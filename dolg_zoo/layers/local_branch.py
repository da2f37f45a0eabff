"""DOLG's local branch: local features and their attention weights at each position."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from dolg_zoo._util.types import Shape, Tensor
from dolg_zoo.layers._numerics import wide_dtype
from dolg_zoo.layers.multi_atrous import MultiAtrous, checked_dilations


@keras.saving.register_keras_serializable(package="dolg_zoo")
class DOLGLocalBranch(keras.layers.Layer):
    """The local map: at each position a unit vector over the channels, times its attention.

    (MultiAtrous → 1×1 convolution → ReLU) → 1×1 convolution → batch norm → x; the attention is
    softplus(1×1 convolution(ReLU(x))) and the result softplus · x / ‖x‖. The norm is computed over
    the channels at each position separately.
    Source: arXiv 2108.02927, section 3.2, and the official code for what the paper leaves open.

    Args:
        IMG_SIZE: ignored; accepted for compatibility with innat/DOLG-TensorFlow. The feature map
            can have any size.
        filters: channels of the local map.
        dilation_rates: MultiAtrous' dilations; empty for none, as in the released weights.
        atrous_filters: channels of each branch of MultiAtrous.
        atrous_pointwise: whether MultiAtrous has a 1×1 branch.
        use_bias: whether the convolution before the batch norm has a bias.
        attention_channels: 1 for one weight per position, or `filters` for one per position and
            channel.
        bn_epsilon: the batch norm's epsilon.
        pool: return the mean over all positions instead of the map.

    Input: (batch, height, width, channels), height and width may be unknown.
    Output: (batch, height, width, filters), or (batch, filters) with `pool`.

    Raises:
        ValueError: if `attention_channels` is neither 1 nor `filters`, or `dilation_rates` is
            not a sequence of positive integers.
    """

    def __init__(
        self,
        IMG_SIZE: int | None = None,
        *,
        filters: int = 1024,
        dilation_rates: Sequence[int] = (6, 12, 18),
        atrous_filters: int = 512,
        atrous_pointwise: bool = True,
        use_bias: bool = True,
        attention_channels: int = 1,
        bn_epsilon: float = 1e-5,
        pool: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if attention_channels not in (1, filters):
            raise ValueError(
                f"attention_channels must be 1 or filters ({filters}), got {attention_channels!r}."
            )
        self.filters = filters
        self.dilation_rates = checked_dilations(dilation_rates)
        self.atrous_filters = atrous_filters
        self.atrous_pointwise = atrous_pointwise
        self.use_bias = use_bias
        self.attention_channels = attention_channels
        self.bn_epsilon = bn_epsilon
        self.pool = pool
        self.input_spec = keras.InputSpec(ndim=4)

        policy = {"dtype": self.dtype_policy}
        self.multi_atrous = self.reduce_conv = None
        if self.dilation_rates:
            self.multi_atrous = MultiAtrous(
                atrous_filters, self.dilation_rates, atrous_pointwise, name="multi_atrous", **policy
            )
            self.reduce_conv = keras.layers.Conv2D(
                filters, 1, activation="relu", name="reduce_conv", **policy
            )
        self.conv = keras.layers.Conv2D(filters, 1, use_bias=use_bias, name="conv", **policy)
        self.bn = keras.layers.BatchNormalization(
            epsilon=bn_epsilon, momentum=0.9, name="bn", **policy
        )
        self.attention_conv = keras.layers.Conv2D(
            attention_channels, 1, name="attention_conv", **policy
        )

    def build(self, input_shape: Shape) -> None:
        shape = tuple(input_shape)
        for layer in (self.multi_atrous, self.reduce_conv, self.conv, self.bn):
            if layer is not None:
                layer.build(shape)
                shape = tuple(layer.compute_output_shape(shape))
        self.attention_conv.build(shape)

    def attend(self, inputs: Tensor, training: bool | None = None) -> tuple[Tensor, Tensor]:
        """Return the two factors of the local map for a map (batch, height, width, channels).

        They are the features (batch, height, width, filters), not normalised, and the attention /
        ‖features‖ (batch, height, width, attention_channels), in float32 or float64.
        """
        x = inputs
        if self.multi_atrous is not None and self.reduce_conv is not None:
            x = self.reduce_conv(self.multi_atrous(x))
        features = self.bn(self.conv(x), training=training)
        dtype = wide_dtype(self.compute_dtype)
        attention = ops.softplus(ops.cast(self.attention_conv(ops.relu(features)), dtype))
        norm = ops.norm(ops.cast(features, dtype), axis=-1, keepdims=True)
        return features, attention / ops.maximum(norm, 1e-12)

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        features, weights = self.attend(inputs, training=training)
        local = ops.cast(features, weights.dtype) * weights
        if self.pool:
            # not a matrix product: for its reshapes OpenVINO would transpose the map twice
            local = ops.mean(local, axis=(1, 2))
        return ops.cast(local, self.compute_dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        if self.pool:
            return (input_shape[0], self.filters)
        return (*input_shape[:-1], self.filters)

    def get_config(self) -> dict[str, Any]:
        names = ["filters", "dilation_rates", "atrous_filters", "atrous_pointwise", "use_bias"]
        names += ["attention_channels", "bn_epsilon", "pool"]
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

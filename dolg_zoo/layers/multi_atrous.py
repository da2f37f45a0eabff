"""Parallel dilated convolutions over one map, for several scales."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
from keras import ops

from dolg_zoo._util.types import Shape, Tensor
from dolg_zoo.layers._numerics import wide_dtype
from dolg_zoo.layers.dilated_conv import DilatedConv2D


def checked_dilations(rates: Any) -> tuple[int, ...]:
    """Return `rates` as a tuple; raise ValueError unless they are positive integers."""
    checked = tuple(rates) if isinstance(rates, Iterable) else (None,)
    if any(not isinstance(rate, int) or isinstance(rate, bool) or rate < 1 for rate in checked):
        raise ValueError(f"dilation_rates must hold positive integers only, got {rates!r}.")
    return checked


@keras.saving.register_keras_serializable(package="dolg_zoo")
class MultiAtrous(keras.layers.Layer):
    """Branches over one map, concatenated along the channels.

    In this order: global average pooling (then 1×1 convolution, ReLU, broadcast over the map);
    a 1×1 convolution if `pointwise`; a 3×3 convolution for each dilation. All have a bias.
    Source: the paper's multi-atrous module (arXiv 2108.02927, section 3.2), which takes it from
    ASPP (arXiv 1706.05587).

    Args:
        filters: channels of each branch.
        dilation_rates: the dilation rates, each at least 1, in feature-map positions.
        pointwise: whether there is a 1×1 branch.

    Input: (batch, height, width, channels), height and width may be unknown.
    Output: (batch, height, width, filters × branches).

    Raises:
        ValueError: if `dilation_rates` is empty or is not a sequence of positive integers.
    """

    def __init__(
        self,
        filters: int = 512,
        dilation_rates: Sequence[int] = (6, 12, 18),
        pointwise: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dilation_rates = checked_dilations(dilation_rates)
        if not self.dilation_rates:
            raise ValueError(f"dilation_rates must hold one rate at least, got {dilation_rates!r}.")
        self.filters = filters
        self.pointwise = pointwise
        self.input_spec = keras.InputSpec(ndim=4)
        convolution = {"filters": filters, "dtype": self.dtype_policy}
        self.average_conv = keras.layers.Conv2D(
            kernel_size=1, activation="relu", name="average_conv", **convolution
        )
        self.convs = [
            DilatedConv2D(dilation_rate=rate, name=f"dilated_conv_{rate}", **convolution)
            for rate in self.dilation_rates
        ]
        if pointwise:
            self.convs.insert(
                0, keras.layers.Conv2D(kernel_size=1, name="pointwise_conv", **convolution)
            )

    def build(self, input_shape: Shape) -> None:
        self.average_conv.build((input_shape[0], 1, 1, input_shape[-1]))
        for conv in self.convs:
            conv.build(input_shape)

    def call(self, inputs: Tensor) -> Tensor:
        # a sum of thousands of positions is inexact in float16
        average = ops.mean(
            ops.cast(inputs, wide_dtype(self.compute_dtype)), axis=(1, 2), keepdims=True
        )
        average = self.average_conv(ops.cast(average, self.compute_dtype))
        maps = [conv(inputs) for conv in self.convs]
        return ops.concatenate([ops.broadcast_to(average, ops.shape(maps[0])), *maps], axis=-1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.filters * (1 + len(self.convs)))

    def get_config(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("filters", "dilation_rates", "pointwise")}
        return {**super().get_config(), **own}

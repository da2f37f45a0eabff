"""Generalized-mean pooling."""

from typing import Any

import keras
from keras import ops

from dolg_zoo._util.arguments import number, one_of
from dolg_zoo._util.types import Shape, Tensor
from dolg_zoo.layers._numerics import wide_dtype

POWERS = ("shared", "channel", "fixed")


@keras.saving.register_keras_serializable(package="dolg_zoo")
class GeneralizedMeanPooling2D(keras.layers.Layer):
    """GeM: the mean of the p-th powers over all positions, to the power 1/p, channel by channel.

    p = 1 is average pooling; the larger p, the closer to max pooling.
    Source: Radenović et al., "Fine-tuning CNN Image Retrieval with No Human Annotation"
    (TPAMI 2019, arXiv 1711.02512).

    Args:
        p: the exponent, greater than 0; its initial value if it is learned.
        power: "shared" learns one exponent for all channels (the official DOLG), "channel" learns
            one for each channel, "fixed" learns none.
        epsilon: the minimum of the inputs: smaller ones are raised to it, since a power of zero
            has no gradient.

    Input: (batch, height, width, channels), height and width may be unknown.
    Output: (batch, channels), at least `epsilon` everywhere.

    Raises:
        ValueError: if `p` or `epsilon` is not a positive number, or `power` is none of the three.
    """

    def __init__(
        self, p: float = 3.0, power: str = "shared", epsilon: float = 1e-6, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.p = number("p", p, 0, open_ends=True)
        self.power = one_of("power", power, POWERS)
        self.epsilon = number("epsilon", epsilon, 0, open_ends=True)
        self.input_spec = keras.InputSpec(ndim=4)

    def build(self, input_shape: Shape) -> None:
        if self.power != "fixed":
            self.learned_p = self.add_weight(
                name="p",
                shape=() if self.power == "shared" else (input_shape[-1],),
                initializer=keras.initializers.Constant(self.p),
                autocast=False,  # in bfloat16, 2.95 and 2.93 are equal
            )

    def call(self, inputs: Tensor) -> Tensor:
        dtype = wide_dtype(self.compute_dtype)
        x = ops.maximum(ops.cast(inputs, dtype), self.epsilon)
        p = self.p if self.power == "fixed" else ops.cast(self.learned_p, dtype)
        # GeM is homogeneous, so dividing by the maximum first changes neither result nor gradient,
        # and keeps every power within [0, 1].
        scale = ops.stop_gradient(ops.max(x, axis=(1, 2), keepdims=True))
        mean = ops.mean(ops.power(x / scale, p), axis=(1, 2))
        pooled = ops.power(mean, 1.0 / p) * ops.squeeze(scale, axis=(1, 2))
        return ops.cast(pooled, self.compute_dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "p": self.p, "power": self.power, "epsilon": self.epsilon}

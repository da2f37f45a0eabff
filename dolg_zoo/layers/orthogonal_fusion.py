"""DOLG's fusion: the part of the local map that is orthogonal to the global vector."""

from typing import Any

import keras
from keras import ops

from dolg_zoo._util.types import Shape, Tensor
from dolg_zoo.layers._numerics import wide_dtype


def _checked(shapes: Any) -> tuple[Any, Any]:
    """Return the shapes of the local and the global input; ValueError if they do not fit."""
    if len(shapes) == 2 and all(isinstance(shape, tuple | list) for shape in shapes):
        local, global_ = shapes
        ranks_fit = len(local) in (2, 4) and len(global_) == 2
        batches_fit = ranks_fit and (local[0] == global_[0] or None in (local[0], global_[0]))
        if batches_fit and local[-1] == global_[-1]:
            return local, global_
    raise ValueError(
        "OrthogonalFusion takes [local, global] of shapes (batch, height, width, channels)"
        " or (batch, channels), and (batch, channels), with equal batches and channels;"
        f" got {shapes}."
    )


@keras.saving.register_keras_serializable(package="dolg_zoo")
class OrthogonalFusion(keras.layers.Layer):
    """Joins the global vector and the component of each local vector that is orthogonal to it.

    At each position: orthogonal = local − (global·local / global·global) · global, and the output
    is [global, orthogonal] along the channels. With a zero global vector, orthogonal = local.
    Source: arXiv 2108.02927, section 3.3.

    The projection is linear in the local vector, so the mean of the fused map equals the fusion of
    the mean of the local map. Pass that mean instead of the map to avoid building the fused map.

    Input: [local, global]: local (batch, height, width, channels), height and width may be
        unknown, or its mean (batch, channels); global (batch, channels).
    Output: (batch, height, width, 2 × channels) for a map, (batch, 2 × channels) for a mean.

    Raises:
        ValueError: if there are not exactly two inputs, if their batch or channel sizes differ, or
            if their ranks are wrong.
    """

    def call(self, inputs: Tensor) -> Tensor:
        _checked(keras.tree.map_structure(lambda x: tuple(x.shape), inputs))
        local, global_ = (ops.cast(x, wide_dtype(self.compute_dtype)) for x in inputs)
        if len(local.shape) == 4:
            global_ = ops.expand_dims(global_, axis=(1, 2))
        # Only the direction counts. With this scale, the square neither overflows nor underflows,
        # and a zero vector becomes 0 / 1.
        largest = ops.stop_gradient(ops.max(ops.abs(global_), axis=-1, keepdims=True))
        direction = global_ / ops.where(largest > 0, largest, 1.0)
        square = ops.sum(ops.square(direction), axis=-1, keepdims=True)
        dot = ops.sum(local * direction, axis=-1, keepdims=True)
        orthogonal = local - dot / ops.where(square > 0, square, 1.0) * direction
        fused = ops.concatenate(
            [ops.broadcast_to(global_, ops.shape(orthogonal)), orthogonal], axis=-1
        )
        return ops.cast(fused, self.compute_dtype)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        local, _ = _checked(input_shape)
        return (*local[:-1], 2 * local[-1])

import math
from numbers import Real
from typing import Any

import keras
from keras import ops

from dolg_zoo._util.arguments import number, whole_number
from dolg_zoo._util.types import Shape, Tensor


def _descriptors_shape(shapes: Any) -> Any:
    """Return the shape of the descriptors; ValueError if the inputs' shapes do not fit."""
    paired = len(shapes) == 2 and isinstance(shapes[0], tuple | list)
    descriptors, labels = shapes if paired else (shapes, shapes[:1])
    ranks_fit = len(descriptors) == 2 and (len(labels) == 1 or tuple(labels[1:]) == (1,))
    if ranks_fit and (descriptors[0] == labels[0] or None in (descriptors[0], labels[0])):
        return descriptors
    raise ValueError(
        "A margin head takes descriptors of shape (batch, dim), or [descriptors, labels] with"
        f" labels of shape (batch,) or (batch, 1); got {shapes}."
    )


def _inverse_length(rows: Tensor) -> Tensor:
    """Return 1 / the norm of each row, (…, 1); a row of zeros gives 0 with slope 0."""
    square = ops.sum(ops.square(rows), axis=-1, keepdims=True)
    has_length = square > 1e-24
    return ops.where(has_length, ops.rsqrt(ops.where(has_length, square, 1.0)), 0.0)


def widened(cosine: Tensor, cos_margin: Tensor, sin_margin: Tensor) -> Tensor:
    """Return cos(θ + margin) for `cosine` = cos θ, from the margin's cosine and sine."""
    square = (1.0 - cosine) * (1.0 + cosine)  # below 0 if a cosine is rounded beyond ±1
    positive = square > 0
    # the root's gradient at 0 is infinite, and gradients flow even into the unused branch
    sine = ops.where(positive, ops.sqrt(ops.where(positive, square, 1.0)), 0.0)
    return cosine * cos_margin - sine * sin_margin


class MarginHead(keras.layers.Layer):
    """A classifier by the cosine to each class's center, with a margin for the right class.

    A subclass defines the margin in `with_margin`.
    """

    def __init__(
        self, num_classes: int, scale: float = 64.0, margin: float = 0.5, **kwargs: Any
    ) -> None:
        # no half precision, which has few values near a cosine of 1
        super().__init__(autocast=False, **kwargs)
        is_number = isinstance(margin, Real)
        if not is_number or not 0 <= margin < math.pi / 2:
            raise ValueError(f"margin must be an angle in [0, π/2) radians, got {margin!r}.")
        self.num_classes = whole_number("num_classes", num_classes, 1)
        self.scale = number("scale", scale, 0, open_ends=True)
        self.margin = float(margin)

    def build(self, input_shape: Any) -> None:
        self.add_centers((self.num_classes,), _descriptors_shape(input_shape)[-1])

    def add_centers(self, rows: tuple[int, ...], dim: int) -> None:
        """Add the weight `centers` of shape (*rows, dim)."""
        # A step turns a center with a larger norm less. So the norm, about 0.6, must not fall with
        # the number of classes, as in Keras's default.
        bound = 1 / math.sqrt(dim)
        uniform = keras.initializers.RandomUniform(-bound, bound)
        self.centers = self.add_float32("centers", (*rows, dim), uniform)

    def add_float32(self, name: str, shape: Shape, initializer: Any, **options: Any) -> Any:
        """Add a weight that is float32 for any dtype of the layer."""
        options |= {"dtype": "float32", "autocast": False}
        return self.add_weight(name=name, shape=shape, initializer=initializer, **options)

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        _descriptors_shape(keras.tree.map_structure(lambda x: tuple(x.shape), inputs))
        descriptors, labels = inputs if isinstance(inputs, tuple | list) else (inputs, None)
        logits = self.scale * self.cosines(descriptors)
        return logits if labels is None else self.add_margin(logits, labels, training=training)

    def cosines(self, descriptors: Tensor) -> Tensor:
        """Return the cosine between each descriptor and each row of centers, (batch, rows)."""
        descriptors = ops.cast(descriptors, "float32")
        centers = ops.reshape(self.centers, (-1, self.centers.shape[-1]))
        products = ops.einsum("bd,cd->bc", descriptors * _inverse_length(descriptors), centers)
        # normalise the products, which are fewer than the centers' values
        return products * ops.reshape(_inverse_length(centers), (1, -1))

    def add_margin(self, logits: Tensor, labels: Tensor, training: bool | None = None) -> Tensor:
        """Return the logits with the margin, float32 (batch, num_classes).

        `add_margin(head(descriptors), labels)` equals `head([descriptors, labels])`. It is for a
        model that gets the labels only for its loss. The logits may have any precision; ValueError
        if they are not of num_classes classes.
        """
        logits = ops.cast(logits, "float32")
        if len(logits.shape) != 2 or logits.shape[1] != self.num_classes:
            raise ValueError(
                f"logits must be of shape (batch, {self.num_classes}), got {tuple(logits.shape)}."
            )
        labels = ops.reshape(ops.cast(labels, "int32"), (-1,))
        target = ops.take_along_axis(logits, ops.expand_dims(labels, -1), axis=-1) / self.scale
        is_target = ops.one_hot(labels, self.num_classes, dtype="bool")
        return self.with_margin(logits, target, labels, is_target, training)

    def with_margin(
        self, logits: Tensor, target: Tensor, labels: Tensor, is_target: Tensor, training: object
    ) -> Tensor:
        """Return the logits with the margin, (batch, num_classes).

        `logits` are scale times the cosines; `labels`, (batch,), are the right classes; `target`,
        (batch, 1), is the cosine to the right class; `is_target`, (batch, num_classes), is true at
        the right class. Running means are updated if `training`.
        """
        raise NotImplementedError

    def widened(self, cosine: Tensor) -> Tensor:
        """Return cos(θ + margin) for `cosine` = cos θ."""
        return widened(cosine, math.cos(self.margin), math.sin(self.margin))

    def get_config(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("num_classes", "scale", "margin")}
        return {**super().get_config(), **own}

import math
from numbers import Integral, Real

import keras
from keras import ops

from dolg_zoo.layers._numerics import is_positive


def _descriptors_shape(shapes):
    """The shape of the descriptors; ValueError if the inputs' shapes do not fit."""
    paired = len(shapes) == 2 and isinstance(shapes[0], tuple | list)
    descriptors, labels = shapes if paired else (shapes, shapes[:1])
    ranks_fit = len(descriptors) == 2 and (len(labels) == 1 or tuple(labels[1:]) == (1,))
    if ranks_fit and (descriptors[0] == labels[0] or None in (descriptors[0], labels[0])):
        return descriptors
    raise ValueError(
        "A margin head takes descriptors of shape (batch, dim), or [descriptors, labels] with"
        f" labels of shape (batch,) or (batch, 1); got {shapes}."
    )


class MarginHead(keras.layers.Layer):
    """A classifier by the cosine to each class's center that makes the right class harder.

    A subclass says in `with_margin` how much harder.
    """

    def __init__(self, num_classes, scale, margin, **kwargs):
        # not cast to half precision, for near 1 it holds hardly any cosine
        super().__init__(autocast=False, **kwargs)
        if not isinstance(num_classes, Integral) or num_classes < 1:
            raise ValueError(f"num_classes must be a whole number from 1 on, got {num_classes!r}.")
        if not is_positive(scale) or math.isinf(scale):
            raise ValueError(f"scale must be a finite number greater than 0, got {scale!r}.")
        if not isinstance(margin, Real) or not 0 <= margin < math.pi / 2:
            raise ValueError(f"margin must be an angle in [0, π/2) radians, got {margin!r}.")
        self.num_classes = int(num_classes)
        self.scale = float(scale)
        self.margin = float(margin)

    def build(self, input_shape):
        dim = _descriptors_shape(input_shape)[-1]
        self.centers = self.add_weight(
            name="centers", shape=(self.num_classes, dim), dtype="float32", autocast=False
        )

    def call(self, inputs, training=None):
        _descriptors_shape(keras.tree.map_structure(lambda x: tuple(x.shape), inputs))
        descriptors, labels = inputs if isinstance(inputs, tuple | list) else (inputs, None)
        cosine = ops.einsum(
            "bd,cd->bc",
            ops.normalize(ops.cast(descriptors, "float32"), epsilon=1e-12),
            ops.normalize(self.centers, epsilon=1e-12),
        )
        if labels is not None:
            labels = ops.reshape(ops.cast(labels, "int32"), (-1,))
            target = ops.take_along_axis(cosine, ops.expand_dims(labels, -1), axis=-1)
            is_target = ops.one_hot(labels, self.num_classes, dtype="bool")
            cosine = self.with_margin(cosine, target, is_target, training)
        return self.scale * cosine

    def with_margin(self, cosine, target, is_target, training):
        """What takes the cosines' place when the labels are known.

        Args:
            cosine: (batch, num_classes).
            target: (batch, 1), the cosine to the right class.
            is_target: (batch, num_classes), boolean, true at the right class.
            training: whether running means are updated.

        Returns:
            (batch, num_classes), before scaling.
        """
        raise NotImplementedError

    def widened(self, cosine):
        """cos(θ + margin) where `cosine` is cos θ."""
        square = (1.0 - cosine) * (1.0 + cosine)  # below 0 where a cosine is rounded beyond ±1
        positive = square > 0
        # the root's slope at 0 is infinite, and a slope reaches also the branch not taken
        sine = ops.where(positive, ops.sqrt(ops.where(positive, square, 1.0)), 0.0)
        return cosine * math.cos(self.margin) - sine * math.sin(self.margin)

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "scale": self.scale,
            "margin": self.margin,
        }

"""CurricularFace: a margin, and hard classes whose weight increases as training progresses."""

import math
from typing import Any

import keras
from keras import ops

from dolg_zoo._util.arguments import number
from dolg_zoo._util.types import Tensor
from dolg_zoo.layers._margin import MarginHead


@keras.saving.register_keras_serializable(package="dolg_zoo")
class CurricularFace(MarginHead):
    """Logits of classes for training descriptors; the head of the official DOLG.

    With θ the angle between a descriptor and a class's center, the logit is scale times

    - for the right class: cos(θ + margin) if θ < π − margin, otherwise
      cos θ − margin · sin(margin), because cos(θ + margin) increases again there;
    - for a wrong class: cos θ, or cos θ · (t + cos θ) if the class is hard, which means that its
      cos θ exceeds the right class's cos(θ + margin).

    t is the running mean of the right class's cos θ, initially 0. In training, each batch updates t
    before using it. Take the softmax cross-entropy of the logits.
    Source: Huang et al., "CurricularFace: Adaptive Curriculum Learning Loss for Deep Face
    Recognition" (CVPR 2020, arXiv 2004.00288); defaults of the official DOLG's configuration.

    The centers are the weight `centers` of shape (num_classes, dim), one row per class.
    Whatever the layer's dtype, weights, computation and output are float32.

    Args:
        num_classes: number of classes, at least 1.
        scale: factor of the logits, greater than 0.
        margin: the angle that is added, in radians, from 0 to less than π/2.
        momentum: the momentum of the running mean t, from 0 to 1.

    Input: [descriptors, labels]: descriptors (batch, dim) of any norm; a zero descriptor has the
        cosine 0 to every class; labels (batch,) or (batch, 1), whole numbers from 0 to
        num_classes − 1. Or descriptors alone, for a prediction: the logits are then
        scale · cos θ.
    Output: float32, (batch, num_classes), from −(1 + margin) · scale to 2 · scale.

    Raises:
        ValueError: if `num_classes`, `scale`, `margin` or `momentum` is out of its range, or the
            inputs are of other shapes.
    """

    def __init__(
        self,
        num_classes: int,
        scale: float = 30.0,
        margin: float = 0.15,
        momentum: float = 0.99,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, scale, margin, **kwargs)
        self.momentum = number("momentum", momentum, 0, 1)

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self.t = self.add_float32("t", (), "zeros", trainable=False)

    def with_margin(
        self, logits: Tensor, target: Tensor, labels: Tensor, is_target: Tensor, training: object
    ) -> Tensor:
        t = self.t
        if training:
            mean = ops.stop_gradient(ops.mean(target))
            t = self.momentum * t + (1.0 - self.momentum) * mean
            self.t.assign(t)
        widened = self.widened(target)
        hard = logits > self.scale * widened
        wrong = ops.where(hard, logits * (t + logits / self.scale), logits)
        fallback = target - self.margin * math.sin(self.margin)
        right = ops.where(target > -math.cos(self.margin), widened, fallback)
        return ops.where(is_target, self.scale * right, wrong)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum}

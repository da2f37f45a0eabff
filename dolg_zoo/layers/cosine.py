"""Cosine softmax: a classifier by angles alone, without a margin."""

from typing import Any

import keras

from dolg_zoo._util.types import Tensor
from dolg_zoo.layers._margin import MarginHead


@keras.saving.register_keras_serializable(package="dolg_zoo")
class CosineSoftmax(MarginHead):
    """Logits of classes for training descriptors: scale times the cosine to each class's center.

    Take the softmax cross-entropy of the logits. The right class has no margin: use this head as a
    baseline for the margin heads, or with labels that are too noisy for a margin.
    Source: Wang et al., "NormFace: L2 Hypersphere Embedding for Face Verification" (ACM Multimedia
    2017, arXiv 1704.06369), with the scale fixed.

    The centers are the weight `centers` of shape (num_classes, dim), one row per class.
    Whatever the layer's dtype, weights, computation and output are float32.

    Args:
        num_classes: number of classes, at least 1.
        scale: factor of the logits, greater than 0.

    Input: descriptors (batch, dim) of any norm; a zero descriptor has the cosine 0 to every class.
        Or [descriptors, labels], as for the other heads; the labels are ignored.
    Output: float32, (batch, num_classes), from −scale to scale.

    Raises:
        ValueError: if `num_classes` or `scale` is out of its range, or the inputs are of other
            shapes.
    """

    def __init__(self, num_classes: int, scale: float = 30.0, **kwargs: Any) -> None:
        super().__init__(num_classes, scale, margin=0.0, **kwargs)

    def with_margin(
        self, logits: Tensor, target: Tensor, labels: Tensor, is_target: Tensor, training: object
    ) -> Tensor:
        return logits

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["margin"]
        return config

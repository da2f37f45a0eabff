"""ArcFace: one margin for every image."""

import keras
from keras import ops

from dolg_zoo._util.types import Tensor
from dolg_zoo.layers._margin import MarginHead


@keras.saving.register_keras_serializable(package="dolg_zoo")
class ArcFace(MarginHead):
    """Logits of classes for training: a margin is added to the angle to the target class.

    With θ the angle between a descriptor and a class's center, the logit is scale · cos θ, and
    for the right class scale · cos(θ + margin). Take the softmax cross-entropy of the logits.
    Source: Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition"
    (CVPR 2019, arXiv 1801.07698). The defaults are from this paper; dongkyuk/DOLG-pytorch has
    scale 30 and margin 0.15. Beyond θ = π − margin the logit rises again, as in the paper.

    The centers are the weight `centers` of shape (num_classes, dim), one row per class.
    Whatever the layer's dtype, weights, computation and output are float32.

    Args:
        num_classes: number of classes, at least 1.
        scale: factor of the logits, greater than 0.
        margin: the angle that is added, in radians, from 0 to less than π/2.

    Input: [descriptors, labels]: descriptors (batch, dim) of any norm; a zero descriptor has the
        cosine 0 to every class; labels (batch,) or (batch, 1), whole numbers from 0 to
        num_classes − 1. Or descriptors alone, for inference: then no margin is added.
    Output: float32, (batch, num_classes), from −scale to scale.

    Raises:
        ValueError: if `num_classes`, `scale` or `margin` is out of its range, or the inputs are
            of other shapes.
    """

    def with_margin(
        self, logits: Tensor, target: Tensor, labels: Tensor, is_target: Tensor, training: object
    ) -> Tensor:
        return ops.where(is_target, self.scale * self.widened(target), logits)

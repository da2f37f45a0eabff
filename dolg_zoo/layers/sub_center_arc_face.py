"""Sub-center ArcFace: several centers per class, and a margin for each class."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from dolg_zoo._util.arguments import whole_number
from dolg_zoo._util.types import Tensor
from dolg_zoo.layers._margin import MarginHead, widened


def dynamic_margins(
    counts: ArrayLike, smallest: float = 0.05, largest: float = 0.5, power: float = -0.25
) -> np.ndarray:
    """Return a margin for each class: the fewer images a class has, the larger its margin.

    It is count ** power, mapped linearly to `smallest` … `largest`. The defaults come from the
    winner of Google Landmark Recognition 2021. Source: Ha et al., "Google Landmark Recognition 2020
    Competition Third Place Solution" (arXiv 2010.05350).

    Args:
        counts: (num_classes,), number of images of each class, at least 1.
        smallest: the margin of the class with the most images, in radians, at least 0.
        largest: the margin of the class with the fewest images, in radians, less than π/2. All
            classes have it if their counts are equal.
        power: the exponent of the counts, less than 0.

    Returns:
        float32, (num_classes,), for `SubCenterArcFace.set_margins`.

    Raises:
        ValueError: if an argument is out of its range.
    """
    counts = np.asarray(counts, np.float64)
    if counts.ndim != 1 or not counts.size or not ((counts >= 1) & np.isfinite(counts)).all():
        raise ValueError(
            "counts must give the number of images, at least 1, of each class; got shape"
            f" {counts.shape}, from {counts.min(initial=np.inf)} to {counts.max(initial=-np.inf)}."
        )
    if not 0 <= smallest <= largest < math.pi / 2:
        raise ValueError(
            "Margins must be 0 <= smallest <= largest < π/2 radians, got"
            f" smallest={smallest!r}, largest={largest!r}."
        )
    if not power < 0:
        raise ValueError(f"power must be less than 0, got {power!r}.")
    rarity = counts**power
    spread = np.ptp(rarity)
    share = (rarity - rarity.min()) / spread if spread else np.ones_like(rarity)
    return (smallest + (largest - smallest) * share).astype("float32")


@keras.saving.register_keras_serializable(package="dolg_zoo")
class SubCenterArcFace(MarginHead):
    """Logits of classes for training descriptors, with several centers per class.

    The cosine to a class is the largest cosine to its centers, so different views, and wrong
    labels, need not share a center. With θ its angle, the logit is scale · cos θ, and for the right
    class scale · cos(θ + its margin). Take the softmax cross-entropy of the logits.
    Source: Deng et al., "Sub-center ArcFace: Boosting Face Recognition by Large-scale Noisy Web
    Faces" (ECCV 2020). Beyond θ = π − margin the logit rises again, as in the paper.

    The centers are the weight `centers` of shape (num_classes, centers_per_class, dim), the margins
    the weight `margins` of shape (num_classes,), which is not trained. Whatever the layer's dtype,
    weights, computation and output are float32.

    Args:
        num_classes: number of classes, at least 1.
        centers_per_class: number of centers of a class, at least 1. With 1 it is `ArcFace`.
        scale: factor of the logits, greater than 0.
        margin: the angle that is added, in radians, from 0 to less than π/2, for all classes until
            `set_margins` gives each its own.

    Input: [descriptors, labels]: descriptors (batch, dim) of any norm; a zero descriptor has the
        cosine 0 to every class; labels (batch,) or (batch, 1), whole numbers from 0 to
        num_classes − 1. Or descriptors alone, for inference: then no margin is added.
    Output: float32, (batch, num_classes), from −scale to scale.

    Raises:
        ValueError: if `num_classes`, `centers_per_class`, `scale` or `margin` is out of its range,
            or the inputs are of other shapes.
    """

    def __init__(
        self,
        num_classes: int,
        centers_per_class: int = 3,
        scale: float = 45.0,
        margin: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, scale, margin, **kwargs)
        self.centers_per_class = whole_number("centers_per_class", centers_per_class, 1)

    def add_centers(self, rows: tuple[int, ...], dim: int) -> None:
        super().add_centers((*rows, self.centers_per_class), dim)
        constant = keras.initializers.Constant(self.margin)
        self.margins = self.add_float32("margins", rows, constant, trainable=False)

    def set_margins(self, margins: ArrayLike) -> None:
        """Give each class its own margin, for example from `dynamic_margins`.

        Args:
            margins: (num_classes,), in radians, from 0 to less than π/2.

        Raises:
            ValueError: if the layer is not built, or the margins are out of their range.
        """
        if not self.built:
            raise ValueError("Margins are a weight: call the head on descriptors, or build it.")
        margins = np.asarray(margins)
        if (
            margins.shape != (self.num_classes,)
            or not ((margins >= 0) & (margins < math.pi / 2)).all()
        ):
            raise ValueError(
                f"margins must be {self.num_classes} angles in [0, π/2) radians, got {margins!r}."
            )
        self.margins.assign(margins)

    def cosines(self, descriptors: Tensor) -> Tensor:
        each = super().cosines(descriptors)
        shape = (-1, self.num_classes, self.centers_per_class)
        return ops.max(ops.reshape(each, shape), axis=-1)

    def with_margin(
        self, logits: Tensor, target: Tensor, labels: Tensor, is_target: Tensor, training: object
    ) -> Tensor:
        margin = ops.expand_dims(ops.take(self.margins, labels), -1)
        right = widened(target, ops.cos(margin), ops.sin(margin))
        return ops.where(is_target, self.scale * right, logits)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "centers_per_class": self.centers_per_class}

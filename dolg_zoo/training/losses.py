"""The loss of a training run."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from dolg_zoo._util.types import Tensor


class SmoothedCrossentropy(keras.losses.Loss):
    """Cross-entropy of logits and integer labels, with label smoothing in [0, 1)."""

    # Keras smooths one-hot labels only, too large for 81,313 classes. arXiv 1512.00567, section 7.

    def __init__(self, label_smoothing: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.label_smoothing = label_smoothing

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the losses (batch,) of labels (batch,) and logits (batch, classes)."""
        loss = keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)
        if not self.label_smoothing:
            return loss
        spread = ops.logsumexp(y_pred, axis=-1) - ops.mean(y_pred, axis=-1)
        return (1 - self.label_smoothing) * loss + self.label_smoothing * spread

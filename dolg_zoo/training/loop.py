"""The steps of a run: batches in, trained weights out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dolg_zoo._util.types import Tensor
from dolg_zoo.errors import DivergedError as DivergedError
from dolg_zoo.models import MarginClassifier

CHECK_EVERY = 20
"""Number of steps between checks of the loss; a check makes a GPU wait."""


class Loop:
    """Take steps with Keras's `train_step` under any strategy."""

    # Keras's `fit` can begin only at the start of an epoch, and fails with several hosts

    def __init__(
        self,
        classifier: MarginClassifier,
        augmentation: keras.Model,
        strategy: tf.distribute.Strategy,
    ) -> None:
        self.classifier = classifier
        self.augmentation = augmentation
        self.strategy = strategy
        self._trainable: tuple[bool, bool] | None = None
        self._step: Callable[[Any], None] | None = None

    def set_backbone_trainable(self, trainable: bool, batch_norm: bool) -> None:
        """Freeze or thaw the backbone; without `batch_norm` its batch norms stay frozen."""
        if self._trainable == (trainable, batch_norm):
            return
        backbone = self.classifier.model.net.backbone
        backbone.trainable = trainable
        for layer in backbone._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = trainable and batch_norm
        self._trainable = (trainable, batch_norm)
        self._step = self._compiled()  # the graph contains the set of trainable weights

    def run(self, batches: Iterator[Any], first: int, last: int) -> Iterator[int]:
        """Take and yield the steps from `first` to before `last`; may raise DivergedError."""
        take = self._step
        assert take is not None, "set_backbone_trainable comes first"
        for step in range(first, last):
            take(next(batches))
            if (step + 1) % CHECK_EVERY == 0 or step + 1 == last:
                self._check_loss(step + 1)
            yield step + 1

    def check_weights(self, step: int) -> None:
        """Raise DivergedError if a weight is not finite."""
        # each worker has the weights, but reading the mean loss waits for the other workers
        for variable in self.classifier.trainable_variables:
            if not np.isfinite(np.asarray(variable)).all():
                raise DivergedError(
                    self._diverged(f"The weight {variable.path} is not finite", step)
                )

    def _check_loss(self, step: int) -> None:
        loss = float(self.classifier.get_metrics_result()["loss"])
        if not math.isfinite(loss):
            raise DivergedError(self._diverged(f"The loss is {loss}", step))

    def _diverged(self, what: str, step: int) -> str:
        rate = float(self.classifier.optimizer.learning_rate)
        return (
            f"{what} by step {step}, at a learning rate of {rate:.3g}. The last checkpoint is"
            " older. Lower [optimizer] learning_rate, set clip_norm, or, with precision ="
            ' "mixed_float16", use "mixed_bfloat16" or "float32".'
        )

    def _compiled(self) -> Callable[[Any], None]:
        def train_step(batch: tuple[Tensor, Tensor]) -> None:
            images, labels = batch
            self.classifier.train_step((self.augmentation(images, training=True), labels))

        # Keras's code needs no conversion by AutoGraph
        return tf.function(
            lambda batch: self.strategy.run(train_step, args=(batch,)), autograph=False
        )

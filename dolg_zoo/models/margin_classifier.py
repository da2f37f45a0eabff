"""A descriptor model with a margin head on it, as `fit` takes it."""

from __future__ import annotations

from typing import Any

import keras

from dolg_zoo.layers import MARGIN_HEADS

HEADS: tuple[type[Any], ...] = tuple(MARGIN_HEADS.values())


@keras.saving.register_keras_serializable(package="dolg_zoo")
class MarginClassifier(keras.Model):
    """Images in, logits of classes out; the margin is put on where the loss is computed.

    An ordinary `keras.Model` for `compile` and `fit` on (images, labels): what it gives are logits
    without a margin, by which metrics and `predict` judge; the loss sees them with the margin on.
    Compile it with a `SparseCategoricalCrossentropy(from_logits=True)`.

    Args:
        model: the model that gives descriptors, (batch, dim); it is trained, not copied.
        head: the margin head, a layer of `dolg_zoo.layers.MARGIN_HEADS`.

    Raises:
        TypeError: if the head is none of these.
    """

    def __init__(
        self, model: keras.Model, head: keras.layers.Layer, *, name="margin_classifier", **kwargs
    ):
        if not isinstance(head, HEADS):
            known = ", ".join(cls.__name__ for cls in HEADS)
            raise TypeError(f"head must be a margin head ({known}), got {head!r}.")
        super().__init__(model.inputs, head(model.outputs[0]), name=name, **kwargs)
        self.model = model
        self.head: Any = head

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Return the compiled loss of the logits with the margin; labels (batch,) or (batch, 1)."""
        if y is not None and y_pred is not None:
            y_pred = self.head.add_margin(y_pred, y, training=training)
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    def save_to_preset(self, folder, metadata=None) -> None:
        """Write the model with its head as a preset folder: see `DOLG.save_to_preset`."""
        self.model.save_to_preset(folder, margin_head=self.head, metadata=metadata)

    def get_config(self):
        """Return the arguments, in a form that `from_config` takes."""
        return {
            "name": self.name,
            "trainable": self.trainable,
            "model": keras.saving.serialize_keras_object(self.model),
            "head": keras.saving.serialize_keras_object(self.head),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Return the classifier that `get_config` described, with new weights."""
        config = dict(config)
        trainable = config.pop("trainable", True)
        for part in ("model", "head"):
            config[part] = keras.saving.deserialize_keras_object(
                config[part], custom_objects=custom_objects
            )
        classifier = cls(**config)
        classifier.trainable = trainable
        return classifier

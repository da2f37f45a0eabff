"""A descriptor model with a margin head, for `fit`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from dolg_zoo._util.arguments import label_array
from dolg_zoo._util.forked import check_not_forked
from dolg_zoo._util.text import short_repr
from dolg_zoo._util.types import Tensor
from dolg_zoo.layers import MARGIN_HEADS
from dolg_zoo.models.one_process import OneProcess

HEADS: tuple[type[Any], ...] = tuple(MARGIN_HEADS.values())


@keras.saving.register_keras_serializable(package="dolg_zoo")
class MarginClassifier(OneProcess, keras.Model):
    """A classifier from images to logits; only its loss applies the margin.

    An ordinary `keras.Model` for `compile` and `fit` on (images, labels). Metrics and `predict` use
    logits without the margin; the loss uses logits with it.
    Compile it with a `SparseCategoricalCrossentropy(from_logits=True)`.

    Args:
        model: the model that gives descriptors, (batch, dim); it is trained, not copied.
        head: the margin head, a layer of `dolg_zoo.layers.MARGIN_HEADS`.

    Raises:
        TypeError: if the head is no such layer.
    """

    keras_parts = ("model", "head")

    def __init__(
        self,
        model: keras.Model,
        head: keras.layers.Layer,
        *,
        name: str = "margin_classifier",
        **kwargs: Any,
    ) -> None:
        check_not_forked()
        if not isinstance(head, HEADS):
            known = ", ".join(cls.__name__ for cls in HEADS)
            raise TypeError(f"head must be a margin head ({known}), got {head!r}.")
        super().__init__(model.inputs, head(model.outputs[0]), name=name, **kwargs)
        self.model = model
        self.head: Any = head

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """Return the compiled loss of the logits with the margin; labels (batch,) or (batch, 1)."""
        if y is not None and y_pred is not None:
            y = self._checked(y)
            y_pred = self.head.add_margin(y_pred, y, training=training)
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    def fit(
        self, x: Any = None, y: Any = None, *args: Any, validation_data: Any = None, **kwargs: Any
    ) -> keras.callbacks.History:
        """Train; ValueError if a label is no class of the head."""
        if isinstance(validation_data, tuple | list) and len(validation_data) > 1:
            images, labels, *weights = validation_data
            validation_data = (images, self._labels(labels), *weights)
        with self._label_errors():
            return super().fit(x, self._labels(y), *args, validation_data=validation_data, **kwargs)

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Compute loss and metrics; ValueError if a label is no class of the head."""
        with self._label_errors():
            return super().evaluate(x, self._labels(y), *args, **kwargs)

    def train_on_batch(self, x: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Train on one batch; ValueError if a label is no class of the head."""
        with self._label_errors():
            return super().train_on_batch(x, self._labels(y), *args, **kwargs)

    def test_on_batch(self, x: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Compute loss and metrics of one batch; ValueError if a label is no class of the head."""
        with self._label_errors():
            return super().test_on_batch(x, self._labels(y), *args, **kwargs)

    @contextmanager
    def _label_errors(self) -> Iterator[None]:
        """Turn TensorFlow's errors about labels in a step into a ValueError of one line."""
        wanted = re.escape(self._wanted())
        try:
            yield
            return
        except (tf.errors.InvalidArgumentError, ValueError) as error:
            if kind := re.search(rf"{wanted}, not .*", str(error)):
                message = kind[0]
            elif value := re.search(rf"{wanted}\W+(-?[\d.]+)", str(error)):
                message = f"{self._wanted()}; there is a {value[1]}."
            else:
                raise
        raise ValueError(message)  # outside the `except`, without pages of TensorFlow's graph

    def _wanted(self) -> str:
        return f"labels must be whole numbers from 0 to {self.head.num_classes - 1}"

    def _labels(self, y: Any) -> Any:
        """Return labels as an array, checked before any step; a generator or None unchanged."""
        if not (isinstance(y, list | tuple) or hasattr(y, "__array__")):
            return y
        labels = label_array(y)
        self._check(labels.shape, labels.dtype.name, labels)
        wrong = (labels < 0) | (labels >= self.head.num_classes) | (labels != labels // 1)
        if wrong.any():
            raise ValueError(f"{self._wanted()}; there is a {labels[wrong].flat[0]}.")
        return labels

    def _check(self, shape: Sequence[int | None], dtype: str, labels: Any = None) -> None:
        """Raise a ValueError if labels have a wrong type: names, bools, one-hot vectors."""
        if dtype.startswith(("str", "bytes", "object")):
            example = "" if labels is None else f" such as {short_repr(labels.item(0))}"
            raise ValueError(
                f"{self._wanted()}, not names{example}; number them by their order in"
                " sorted(set(names)), as np.unique(names, return_inverse=True)[1] and"
                " keras.layers.StringLookup(num_oov_indices=0) do."
            )
        if dtype == "bool":
            raise ValueError(f"{self._wanted()}, not bool; cast them to int32 if they are classes.")
        if len(shape) > 2 or (len(shape) == 2 and shape[1] != 1):
            raise ValueError(
                f"{self._wanted()}, not one-hot vectors or others of shape {tuple(shape)}; convert"
                " one-hot vectors with labels.argmax(-1)."
            )

    def _checked(self, y: Any) -> Tensor:
        y = tf.convert_to_tensor(y)
        self._check(y.shape, y.dtype.name)
        y = tf.cast(y, "float32" if y.dtype.is_floating else "int64")
        wrong = (y < 0) | (y >= self.head.num_classes)
        if y.dtype.is_floating:
            wrong |= y != tf.floor(y)
        right = tf.logical_not(tf.reduce_any(wrong))
        message = [self._wanted(), tf.boolean_mask(y, wrong)]
        with tf.control_dependencies([tf.debugging.Assert(right, message)]):
            return tf.identity(y)

    def save_to_preset(self, folder: str | Path, metadata: Mapping[str, Any] | None = None) -> None:
        """Write the model with its head as a preset folder: see `DOLG.save_to_preset`."""
        self.model.save_to_preset(folder, margin_head=self.head, metadata=metadata)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments for `from_config`."""
        return {
            "name": self.name,
            "trainable": self.trainable,
            "model": keras.saving.serialize_keras_object(self.model),
            "head": keras.saving.serialize_keras_object(self.head),
        }

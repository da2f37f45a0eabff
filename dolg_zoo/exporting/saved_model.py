"""SavedModel, for TensorFlow Serving, TensorFlow Hub and `tf.saved_model.load`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras

    from dolg_zoo.runtimes.compile import Infer


def write(model: keras.Model, folder: Path) -> None:
    """Write a `servable` model into a folder with TensorFlow."""
    # not with Keras's export, which TensorFlow Hub cannot call
    import tensorflow as tf

    images = tf.TensorSpec(model.input_shape, tf.uint8, name="images")
    module = tf.Module()
    module.held = [weight.value for weight in model.weights]
    module.__call__ = module.serve = tf.function(
        lambda images: model(images, training=False), input_signature=[images]
    )
    named = tf.function(
        lambda images: {"descriptors": module.serve(images)}, input_signature=[images]
    )
    tf.saved_model.save(module, str(folder), signatures={"serving_default": named})


def load(folder: Path) -> Infer:
    """Return a function from images to descriptors, with the serving signature."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    serve = loaded.signatures["serving_default"]

    def infer(images: np.ndarray) -> np.ndarray:
        return serve(images=tf.constant(images))["descriptors"].numpy()

    infer.loaded = loaded  # type: ignore[attr-defined] # keeps its variables alive
    return infer

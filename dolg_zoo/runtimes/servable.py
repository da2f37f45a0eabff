"""The form of a model for servers, from uint8 images to descriptors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras


def servable(model: keras.Model, size: tuple[int | None, int | None] | None = None) -> keras.Model:
    """Return the model with uint8 images as input, by default of the model's size."""
    import keras

    height, width = size or model.input_shape[1:3]
    images = keras.Input((height, width, 3), dtype="uint8", name="images")
    return keras.Model(images, model(images), name="dolg")


def export(model: keras.Model, path: Path, format: str, **options: Any) -> None:
    """Export a `servable` model with Keras; `options` are for the converter."""
    import keras

    images = keras.InputSpec(dtype="uint8", shape=model.input_shape, name="images")
    model.export(str(path), format=format, verbose=False, input_signature=[images], **options)

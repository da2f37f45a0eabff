"""Compile a Keras model to a runtime's file, and compare the two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dolg_zoo._util.cosines import cosine
from dolg_zoo.errors import CompilationError
from dolg_zoo.runtimes.cpu import cores
from dolg_zoo.runtimes.registry import RUNTIMES

if TYPE_CHECKING:
    import tensorflow as tf

    from dolg_zoo.runtimes.embedding_model import EmbeddingModel

Infer = Callable[[np.ndarray], np.ndarray]

TOLERANCE = 1e-4
"""Maximum distance of a float32 descriptor from Keras's; both have norm 1."""


def load(folder: Path, runtime: str, precision: str, threads: int | None = None) -> Infer:
    """Return a function from images to descriptors; import only the runtime of the files."""
    # `threads` None: one per core
    return RUNTIMES[runtime].code.load(folder, precision, threads or cores())


def freeze(traced: tf.types.experimental.PolymorphicFunction) -> Infer:
    """Return a traced function of one signature with constant weights, for constant folding."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    frozen = convert_variables_to_constants_v2(traced.get_concrete_function())
    return lambda images: frozen(tf.constant(images))[0].numpy()


def check(infer: Infer, expected: Infer, model: EmbeddingModel) -> float:
    """Return the largest distance of the descriptors; raise an error above `TOLERANCE`."""
    height, width = model.input_shape[1:3]
    sizes = [(height, width)] if height and width else [(224, 224), (192, 256)]
    try:
        distance = max(_distance(infer, expected, pattern(*size)) for size in sizes)
    except Exception as error:  # runtimes raise errors of their own types
        raise CompilationError(f"it cannot be run: {error}") from error
    if not distance <= TOLERANCE:  # also true of NaN
        raise CompilationError(
            f"its descriptors are {distance:.1e} from those of Keras, and {TOLERANCE:.0e} is the"
            " limit"
        )
    return distance


def describe(infer: Infer, images: Sequence[np.ndarray]) -> np.ndarray:
    """Compute the descriptors, (images, dim), of images (height, width, 3), uint8, of any size."""
    return np.concatenate([infer(image[None]) for image in images])


def cosines(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """Return the mean and the lowest cosine of descriptors of the same images."""
    lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    each = (before * after).sum(axis=1) / np.maximum(lengths, 1e-12)
    return {"mean": cosine(each.mean()), "lowest": cosine(each.min())}


def pattern(height: int, width: int) -> np.ndarray:
    """Return two images of varied content, (2, height, width, 3) uint8."""
    down, right = np.mgrid[:height, :width].astype(np.float32)
    waves = [np.sin(down / a + right / b) for a, b in ((9, 31), (40, 5), (3, -3))]
    smooth = np.stack(waves, axis=-1) * 90 + 128
    noise = np.random.default_rng(0).normal(0, 30, (2, height, width, 3))
    return np.clip(smooth[None] * [[[[1.0]]], [[[0.6]]]] + noise, 0, 255).astype(np.uint8)


def _distance(infer: Infer, expected: Infer, images: np.ndarray) -> float:
    return float(np.linalg.norm(infer(images) - expected(images), axis=1).max())

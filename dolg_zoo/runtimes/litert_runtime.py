"""LiteRT: convert a Keras model to a file, and run it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dolg_zoo._util.stderr import held_back_stderr
from dolg_zoo.runtimes.servable import export

if TYPE_CHECKING:
    import keras
    from ai_edge_litert.interpreter import Interpreter

FILES = ("model.tflite",)
ANY_SIZE = 224  # pixels, a size that fits every network


def write(model: keras.Model, folder: Path) -> None:
    """Write a model from images to descriptors as model.tflite."""
    export(model, folder / FILES[0], "litert")


def quantize(model: keras.Model, folder: Path, images: Sequence[np.ndarray]) -> None:
    """Replace the file by one with int8 weights."""
    import tensorflow as tf

    # Weights and inputs of convolutions are int8, with ranges from each image. With ranges from
    # calibration, LiteRT would also compute divisions in int8, and divide by zero.
    export(model, folder / "model.tflite", "litert", optimizations=[tf.lite.Optimize.DEFAULT])


def load(folder: Path, precision: str, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from images to descriptors, for one call at a time; needs no TensorFlow."""
    interpreter = interpreter_of(threads, model_path=str(folder / FILES[0]))
    (images_in,), (out,) = interpreter.get_input_details(), interpreter.get_output_details()
    one_at_a_time = threading.Lock()

    def infer(images: np.ndarray) -> np.ndarray:
        with one_at_a_time:
            if tuple(interpreter.get_input_details()[0]["shape"]) != images.shape:
                interpreter.resize_tensor_input(images_in["index"], images.shape)
            interpreter.allocate_tensors()
            interpreter.set_tensor(images_in["index"], images)
            interpreter.invoke()
            return interpreter.get_tensor(out["index"])

    return infer


def interpreter_of(threads: int, **source: Any) -> Interpreter:
    """Return an interpreter of a network on images, from `model_path` or `model_content`."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(num_threads=threads, **source)
    (images_in,) = interpreter.get_input_details()
    _, height, width, _ = images_in["shape_signature"]
    size = (1, ANY_SIZE if height < 0 else height, ANY_SIZE if width < 0 else width, 3)
    interpreter.resize_tensor_input(images_in["index"], size)
    with held_back_stderr():  # with the first size, LiteRT logs its delegate
        interpreter.allocate_tensors()
    return interpreter

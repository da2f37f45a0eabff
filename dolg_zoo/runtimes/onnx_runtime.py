"""ONNX: make files of a Keras model, and run them with ONNX Runtime."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dolg_zoo.runtimes.servable import export

if TYPE_CHECKING:
    import keras
    import onnx

FILES = ("model.onnx",)


def write(model: keras.Model, folder: Path) -> None:
    """Write a model from images to descriptors as model.onnx, with named axes, and check it."""
    import onnx
    from onnx.tools.update_model_dims import update_inputs_outputs_dims

    path = folder / FILES[0]
    with warnings.catch_warnings():  # Keras asks NumPy for names that NumPy is to get back
        warnings.simplefilter("ignore", FutureWarning)
        export(model, path, "onnx")
    network = onnx.load(path)
    for node in network.graph.node:
        _rename(node.input, network.graph.input[0].name, "images")
        _rename(node.output, network.graph.output[0].name, "descriptors")
    network.graph.input[0].name, network.graph.output[0].name = "images", "descriptors"
    _let_zeros_be_zeros(network)
    height, width = (
        ("height", "width") if None in model.input.shape[1:3] else model.input.shape[1:3]
    )
    network = update_inputs_outputs_dims(
        network,
        {"images": ["batch", height, width, 3]},
        {"descriptors": ["batch", model.output.shape[-1]]},
    )
    onnx.checker.check_model(network, full_check=True)
    onnx.save(network, path)


def load(folder: Path, precision: str, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from images to descriptors; needs no TensorFlow."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        folder / FILES[0], options, providers=["CPUExecutionProvider"]
    )
    return lambda images: session.run(None, {"images": images})[0]


def _let_zeros_be_zeros(network: onnx.ModelProto) -> None:
    """Allow a 0 in a computed shape: a feature map may be smaller than a dilation."""
    # TensorFlow means a length of 0 by it, ONNX by default the old length
    from onnx.helper import make_attribute

    given = {constant.name for constant in network.graph.initializer}
    for node in network.graph.node:
        if node.op_type == "Reshape" and node.input[1] not in given:
            node.attribute.append(make_attribute("allowzero", 1))


def _rename(names: Any, old: str, new: str) -> None:
    for number, name in enumerate(names):
        if name == old:
            names[number] = new

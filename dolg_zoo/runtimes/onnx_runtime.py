"""ONNX: convert a Keras model to a file, and run it with ONNX Runtime."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dolg_zoo.runtimes.servable import export

if TYPE_CHECKING:
    import keras
    import onnx

FILES = ("model.onnx",)
KEY = "dolg_zoo"


def write(model: keras.Model, folder: Path) -> None:
    """Write a model from images to descriptors as model.onnx, with named axes, and check it."""
    import onnx
    from onnx.tools.update_model_dims import update_inputs_outputs_dims

    path = folder / FILES[0]
    with warnings.catch_warnings():  # the export uses deprecated names of NumPy
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


def quantize(model: keras.Model, folder: Path, images: Sequence[np.ndarray]) -> None:
    """Replace the file by an int8 one, calibrated by ONNX Runtime."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._left = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self._left, None)
            return None if image is None else {"images": image[None]}

    path, prepared = folder / "model.onnx", folder / "prepared.onnx"
    quant_pre_process(path, prepared, skip_symbolic_shape=True)
    nodes = onnx.load(prepared).graph.node
    quantize_static(
        prepared,
        path,
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        op_types_to_quantize=[
            "Conv",
            "Clip",
            "Relu",
        ],  # a convolution and its clipping share a range
        nodes_to_exclude=[node.name for node in nodes if "/local_branch" in node.name],
    )
    prepared.unlink()


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


def write_text(folder: Path, text: str) -> None:
    """Put a text into the metadata of the file."""
    import onnx

    network = onnx.load(folder / FILES[0])
    onnx.helper.set_model_props(network, {KEY: text})
    onnx.save(network, folder / FILES[0])


def read_text(path: Path) -> str:
    """Return the text in a file; "" if it has none."""
    import onnx

    props = onnx.load(path, load_external_data=False).metadata_props
    return {prop.key: str(prop.value) for prop in props}.get(KEY, "")


def _let_zeros_be_zeros(network: onnx.ModelProto) -> None:
    """Allow a 0 in a computed shape: a feature map may be smaller than a dilation."""
    # in TensorFlow it means the size 0, in ONNX by default the old size
    from onnx.helper import make_attribute

    given = {constant.name for constant in network.graph.initializer}
    for node in network.graph.node:
        if node.op_type == "Reshape" and node.input[1] not in given:
            node.attribute.append(make_attribute("allowzero", 1))


def _rename(names: Any, old: str, new: str) -> None:
    for number, name in enumerate(names):
        if name == old:
            names[number] = new

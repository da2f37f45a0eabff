"""OpenVINO: convert a Keras model to files, and run them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dolg_zoo.runtimes.registry import has_bfloat16
from dolg_zoo.runtimes.servable import export
from dolg_zoo.runtimes.telemetry import import_openvino, no_telemetry

if TYPE_CHECKING:
    import keras
    import openvino

FILES = ("model.xml", "model.bin")
KEY = "dolg_zoo"
_IN_FLOAT32 = [
    *("MatMul", "Divide", "Multiply", "Add", "Subtract", "Maximum"),
    *("Power", "Sqrt", "ReduceSum", "ReduceMean", "ReduceL2", "SoftPlus"),
]


@no_telemetry()
def write(model: keras.Model, folder: Path) -> None:
    """Write a model from images to descriptors as model.xml and model.bin."""
    import openvino

    exported = folder / "exported.xml"
    export(model, exported, "openvino")
    network = openvino.Core().read_model(exported)
    # conversion also makes outputs of a few internal sizes
    network = openvino.Model([network.outputs[0]], network.get_parameters(), "dolg")
    network.inputs[0].tensor.set_names({"images"})
    network.outputs[0].tensor.set_names({"descriptors"})
    openvino.save_model(network, folder / FILES[0], compress_to_fp16=False)
    del network  # it has the exported file open
    for file in (exported, exported.with_suffix(".bin")):
        file.unlink()


@no_telemetry()
def quantize(model: keras.Model, folder: Path, images: Sequence[np.ndarray]) -> None:
    """Replace the files by int8 ones, calibrated by NNCF."""
    import nncf
    import openvino

    plain = openvino.Core().read_model(folder / FILES[0])
    in_float32 = [
        node.get_friendly_name()
        for node in plain.get_ops()
        if node.get_type_name() in _IN_FLOAT32 and not _adds_feature_maps(node)
    ]
    network = nncf.quantize(
        plain,
        nncf.Dataset(images, lambda image: image[None]),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(images),
        ignored_scope=nncf.IgnoredScope(names=in_float32, validate=False),
    )
    openvino.save_model(network, folder / "new.xml", compress_to_fp16=False)
    del network, plain  # they have the old file open
    _put_new(folder)


def _adds_feature_maps(node: openvino.Node) -> bool:
    """Return whether a node is a residual block's final sum, which is computed in int8."""
    # a sum in float32 would convert its maps from int8 and back, a third of a ResNet's time
    if node.get_type_name() != "Add" or node.get_output_partial_shape(0).rank.get_length() != 4:
        return False
    given = [node.input_value(index).get_node().get_type_name() for index in (0, 1)]
    return "Constant" not in given


def load(folder: Path, precision: str, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from images to descriptors; needs no TensorFlow."""
    openvino = import_openvino()
    core = openvino.Core()
    # the float part of an int8 network is faster in bfloat16, and as exact
    in_bfloat16 = precision == "bfloat16" or (precision == "int8" and has_bfloat16())
    hint = openvino.Type.bf16 if in_bfloat16 else openvino.Type.f32
    compiled = core.compile_model(
        folder / FILES[0],
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": hint,
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        },
    )
    requests = threading.local()  # only one thread at a time can use a request

    def infer(images: np.ndarray) -> np.ndarray:
        if not hasattr(requests, "own"):
            requests.own = compiled.create_infer_request()
        return requests.own.infer(images)[0]

    return infer


def write_text(folder: Path, text: str) -> None:
    """Put a text into the metadata of the files."""
    openvino = import_openvino()
    network = openvino.Core().read_model(folder / FILES[0])
    network.set_rt_info(text, [KEY])
    openvino.save_model(network, folder / "new.xml", compress_to_fp16=False)
    del network  # it has the old file open
    _put_new(folder)


def read_text(path: Path) -> str:
    """Return the text in the files; "" if they have none."""
    network = import_openvino().Core().read_model(path)
    return network.get_rt_info([KEY]).astype(str) if network.has_rt_info([KEY]) else ""


def _put_new(folder: Path) -> None:
    for name in FILES:
        (folder / name).with_stem("new").replace(folder / name)

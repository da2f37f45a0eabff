"""OpenVINO: make files of a Keras model, and run them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dolg_zoo.runtimes.registry import has_bfloat16
from dolg_zoo.runtimes.servable import export
from dolg_zoo.runtimes.telemetry import import_openvino, no_telemetry

if TYPE_CHECKING:
    import keras

FILES = ("model.xml", "model.bin")


@no_telemetry()
def write(model: keras.Model, folder: Path) -> None:
    """Write a model from images to descriptors as model.xml and model.bin."""
    import openvino

    exported = folder / "exported.xml"
    export(model, exported, "openvino")
    network = openvino.Core().read_model(exported)
    # conversion makes outputs of a few sizes that are worked out inside as well
    network = openvino.Model([network.outputs[0]], network.get_parameters(), "dolg")
    network.inputs[0].tensor.set_names({"images"})
    network.outputs[0].tensor.set_names({"descriptors"})
    openvino.save_model(network, folder / FILES[0], compress_to_fp16=False)
    del network  # it has the exported file open
    for file in (exported, exported.with_suffix(".bin")):
        file.unlink()


def load(folder: Path, precision: str, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from images to descriptors; needs no TensorFlow."""
    openvino = import_openvino()
    core = openvino.Core()
    # the part of an int8 network that is not in int8 is faster in bfloat16, and no less exact
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
    requests = threading.local()  # one can be asked by one thread at a time

    def infer(images: np.ndarray) -> np.ndarray:
        if not hasattr(requests, "own"):
            requests.own = compiled.create_infer_request()
        return requests.own.infer(images)[0]

    return infer

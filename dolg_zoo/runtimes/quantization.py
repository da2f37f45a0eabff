"""int8: a runtime's files calibrated on images by the runtime's own quantiser.

Everything after the convolutions (attention, GeM, fusion, normalisation) stays in float32: int8
saves little time there, and descriptors would not have norm 1.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dolg_zoo.preprocessing import ImageConverter, decode_ahead, load_image
from dolg_zoo.preprocessing.sources import image_sources
from dolg_zoo.runtimes.servable import export
from dolg_zoo.runtimes.telemetry import no_telemetry

if TYPE_CHECKING:
    import keras
    import openvino

MOST_IMAGES = 128

_NOT_IN_OPENVINO = [
    *("MatMul", "Divide", "Multiply", "Add", "Subtract", "Maximum"),
    *("Power", "Sqrt", "ReduceSum", "ReduceMean", "ReduceL2", "SoftPlus"),
]


def calibration_images(converter: ImageConverter, sources: Any) -> list[np.ndarray]:
    """Return up to `MOST_IMAGES` readable, evenly spaced images, each (height, width, 3) uint8."""
    sources = [] if sources is None else image_sources(sources)
    how = "--calibration DIR, or calibration=[…] in Python"
    if not len(sources):
        raise ValueError(f"int8 needs some hundred images to calibrate with: {how}.")
    rows = np.linspace(0, len(sources) - 1, min(len(sources), MOST_IMAGES)).round().astype(int)
    sample = [sources[row] for row in rows]
    found = decode_ahead(sample, lambda source: converter(load_image(source)), ahead=8)
    results = {row: result for row, _, result in found}
    images = [results[row] for row in sorted(results)]
    kept = [image for image in images if isinstance(image, np.ndarray)]
    if not kept:
        raise ValueError(
            f"None of the {len(images)} images to calibrate with can be read, the first because:"
            f" {images[0]}. Give others: {how}."
        )
    return kept


def quantize(model: keras.Model, folder: Path, runtime: str, images: Sequence[np.ndarray]) -> None:
    """Turn a runtime's float32 files into int8 ones with images (height, width, 3) uint8."""
    with _nothing_on_stdout():
        if runtime == "openvino":
            _quantize_openvino(folder, images)
        elif runtime == "onnx":
            _quantize_onnx(folder, images)
        else:
            _quantize_litert(model, folder)


@no_telemetry()
def _quantize_openvino(folder: Path, images: Sequence[np.ndarray]) -> None:
    import nncf
    import openvino

    path, quantized = folder / "model.xml", folder / "int8.xml"
    plain = openvino.Core().read_model(path)
    in_float32 = [
        node.get_friendly_name()
        for node in plain.get_ops()
        if node.get_type_name() in _NOT_IN_OPENVINO and not _adds_feature_maps(node)
    ]
    network = nncf.quantize(
        plain,
        nncf.Dataset(images, lambda image: image[None]),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(images),
        ignored_scope=nncf.IgnoredScope(names=in_float32, validate=False),
    )
    openvino.save_model(network, quantized, compress_to_fp16=False)
    del network, plain  # they have the float32 file open
    quantized.replace(path)
    quantized.with_suffix(".bin").replace(path.with_suffix(".bin"))


def _adds_feature_maps(node: openvino.Node) -> bool:
    """Return whether a node is a residual block's final sum, which is computed in int8."""
    # in float32 it would convert the maps around it to int8 and back: a third of a ResNet's time
    if node.get_type_name() != "Add" or node.get_output_partial_shape(0).rank.get_length() != 4:
        return False
    given = [node.input_value(index).get_node().get_type_name() for index in (0, 1)]
    return "Constant" not in given


def _quantize_onnx(folder: Path, images: Sequence[np.ndarray]) -> None:
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
        op_types_to_quantize=["Conv", "Clip", "Relu"],  # a clipped convolution has its range
        nodes_to_exclude=[node.name for node in nodes if "/local_branch" in node.name],
    )
    prepared.unlink()


def _quantize_litert(model: keras.Model, folder: Path) -> None:
    import tensorflow as tf

    # Weights and the inputs of convolutions in int8, their range taken from each image: with
    # ranges from calibration, LiteRT puts divisions into int8 too, and they divide by zero.
    export(model, folder / "model.tflite", "litert", optimizations=[tf.lite.Optimize.DEFAULT])


@contextlib.contextmanager
def _nothing_on_stdout() -> Iterator[None]:
    """Silence standard output: quantisers draw on it, and a command's JSON must be alone there."""
    level = logging.root.level
    try:
        with (
            open(os.devnull, "w", encoding="utf-8") as nowhere,  # noqa: PTH123
            contextlib.redirect_stdout(nowhere),
        ):
            logging.disable(logging.WARNING)
            yield
    finally:
        logging.disable(logging.NOTSET)
        logging.root.setLevel(level)
        sys.stdout.flush()

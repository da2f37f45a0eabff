"""The record of facts in an exported file, at its format's place for metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dolg_zoo.runtimes.telemetry import import_openvino

KEY = "dolg_zoo"
IN_SAVED_MODEL = Path("assets.extra") / "dolg.json"
"""TensorFlow's place for what is to lie beside a SavedModel and is no part of its graph."""

SAVED_MODEL_FILES = {"saved_model.pb", "fingerprint.pb", "variables", "assets", "assets.extra"}


def write_record(folder: Path, format: str, record: dict[str, Any]) -> None:
    """Put a record into, or beside, the files of a format in a folder."""
    text = json.dumps(record, indent=1)
    if format == "savedmodel":
        (folder / IN_SAVED_MODEL).parent.mkdir(exist_ok=True)
        (folder / IN_SAVED_MODEL).write_text(text + "\n", encoding="utf-8")
    elif format == "litert":
        (folder / "model.json").write_text(text + "\n", encoding="utf-8")
    elif format == "onnx":
        import onnx

        network = onnx.load(folder / "model.onnx")
        onnx.helper.set_model_props(network, {KEY: text})
        onnx.save(network, folder / "model.onnx")
    else:
        openvino = import_openvino()
        network = openvino.Core().read_model(folder / "model.xml")
        network.set_rt_info(text, [KEY])
        openvino.save_model(network, folder / "noted.xml", compress_to_fp16=False)
        del network  # it has the file open
        for suffix in (".bin", ".xml"):
            (folder / f"noted{suffix}").replace(folder / f"model{suffix}")


def read_record(path: Path, format: str) -> dict[str, Any]:
    """Return the record of an export; raise ValueError if it has none."""
    if format == "savedmodel":
        text = (path / IN_SAVED_MODEL).read_text(encoding="utf-8")
    elif format == "litert":
        text = path.with_suffix(".json").read_text(encoding="utf-8")
    elif format == "onnx":
        import onnx

        props = onnx.load(path, load_external_data=False).metadata_props
        text = {prop.key: prop.value for prop in props}.get(KEY, "")
    else:
        openvino = import_openvino()
        network = openvino.Core().read_model(path)
        text = network.get_rt_info([KEY]).astype(str) if network.has_rt_info([KEY]) else ""
    record = json.loads(text)
    if not isinstance(record, dict) or "image_converter" not in record:
        raise ValueError("it is no record of an export")
    return record


def is_ours(path: Path, format: str) -> bool:
    """Return whether the path is an export of that format, alone in its folder, or raise."""
    read_record(path, format)
    return format != "savedmodel" or {each.name for each in path.iterdir()} <= SAVED_MODEL_FILES

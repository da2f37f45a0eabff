"""Write and read a preset folder: JSON files, weights and the optional margin head."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras

from dolg_zoo._util.files import put, scratch_folder, user_path
from dolg_zoo._util.imports import import_fault
from dolg_zoo._util.outputs import check_output, has_keys
from dolg_zoo._util.own_folders import PRESET
from dolg_zoo._util.records import hashes_of
from dolg_zoo.backbones import to_be_filled
from dolg_zoo.backbones.build import check_keras
from dolg_zoo.checkpoints.porting import MarginHead
from dolg_zoo.errors import ForkedProcessError, PresetError
from dolg_zoo.models import DOLGNet
from dolg_zoo.models.dtype_policy import check_not_quantized, dtype_policy
from dolg_zoo.preprocessing import ImageConverter
from dolg_zoo.presets.files import (
    FORMAT_VERSION,
    REPORT,
    PresetDescription,
    check_hashes,
    read_description,
    read_json,
)
from dolg_zoo.presets.margin_head import describe_margin_head, load_margin_head, save_margin_head
from dolg_zoo.presets.own_backbone import deserialize_backbone, serialize_backbone
from dolg_zoo.presets.weights_file import check_finite
from dolg_zoo.presets.weights_file import load_weights as read_weights
from dolg_zoo.weights.manifest import CONFIG, MARGIN_HEAD, METADATA, PREPROCESSOR, WEIGHTS


@dataclass(frozen=True)
class Preset:
    """The content of a preset folder: the network, its preprocessing and its metadata."""

    net: DOLGNet
    image_converter: ImageConverter
    metadata: Mapping[str, Any]


def write_preset(
    folder: str | Path, preset: Preset, margin_head: MarginHead | None = None
) -> Preset:
    """Write a preset folder; the files of an old preset are replaced one by one.

    Args:
        folder: the folder to write to.
        preset: the preset to write.
        margin_head: the margin head that the network was trained with, to continue training.

    Returns:
        The preset with the metadata that was written.

    Raises:
        PresetError: if the network is a classifier or quantized, a weight is not finite, or a
            preset cannot store its backbone; nothing is written then.
        OutputError: if the folder holds files but no preset.
        OSError: if the folder cannot be written.
    """
    folder = check_output(folder, PRESET)
    net = preset.net
    if net.num_classes is not None:
        raise PresetError(
            "A preset gives descriptors, but this network is a classifier of"
            f" {net.num_classes} classes; save it with net.save('….keras')."
        )
    try:
        check_not_quantized(net)
    except ValueError as error:
        raise PresetError(str(error)) from None
    check_finite(net, folder)
    config: dict[str, Any] = {"format_version": FORMAT_VERSION, "dolg": net.config.to_dict()}
    if net.config.backbone is None:
        config["backbone"] = serialize_backbone(net.backbone)
    if margin_head is not None:
        config["margin_head"] = describe_margin_head(margin_head)
    # All JSON texts before the first write: an error must leave an old preset as it is.
    config_text = _to_json(config)
    converter_text = _to_json(preset.image_converter.to_config())
    _to_json(preset.metadata)
    with scratch_folder(folder / METADATA) as scratch:
        net.save_weights(scratch / WEIGHTS)
        if margin_head is not None:
            save_margin_head(margin_head, scratch / MARGIN_HEAD)
        (scratch / CONFIG).write_text(config_text, encoding="utf-8")
        (scratch / PREPROCESSOR).write_text(converter_text, encoding="utf-8")
        hashes = hashes_of(scratch, sorted(os.listdir(scratch)))  # noqa: PTH208
        metadata = {**preset.metadata, "sha256": hashes}
        (scratch / METADATA).write_text(_to_json(metadata), encoding="utf-8")
        check_output(folder, PRESET)  # again: other files may have appeared
        if MARGIN_HEAD not in hashes:  # remove the old preset's margin head
            (folder / MARGIN_HEAD).unlink(missing_ok=True)
        if has_keys(folder / REPORT, "largest_difference", "tolerance"):  # about the old weights
            (folder / REPORT).unlink()
        # The metadata has the hashes of the other files and comes last: if the job dies before,
        # the next call refuses the mixture of old and new files.
        for name in (*hashes, METADATA):
            put(scratch / name, folder / name)
    return replace(preset, metadata=metadata)


def read_preset(
    folder: str | Path,
    known: Mapping[str, str] | None = None,
    *,
    load_weights: bool = True,
    dtype: str | keras.DTypePolicy | None = None,
) -> Preset:
    """Read a preset folder. Nothing in it is executed, and no path in it is opened.

    Args:
        folder: the folder.
        known: file name to sha256, for files whose sha256 has been computed already.
        load_weights: False for the same network with random weights.
        dtype: the dtype policy of the layers. None: Keras's global policy, but for a custom
            backbone the policies that it was saved with.

    Raises:
        PresetError: if a file is missing or invalid; the message names the file.
    """
    check_keras()
    folder = user_path(folder)
    description = read_description(folder)
    with ThreadPoolExecutor(1, "hash") as pool:  # hash while the network is built
        names = (WEIGHTS,) if load_weights else ()
        check = pool.submit(check_hashes, folder, description.metadata, names, known or {})
        with to_be_filled() if load_weights else nullcontext(), dtype_policy(dtype):
            net = _network(description, folder / CONFIG, dtype)
    check.result()
    if load_weights:
        read_weights(net, folder / WEIGHTS)
    return Preset(net, description.image_converter, description.metadata)


def read_margin_head(folder: str | Path) -> keras.layers.Layer:
    """Return the margin head that a preset was trained with, as a layer with its weights.

    Raises:
        PresetError: if the preset has no margin head, or a file is invalid.
    """
    folder = user_path(folder)
    config = read_json(folder / CONFIG)
    if "margin_head" not in config:
        raise PresetError(
            f"{folder} keeps no margin head. Presets converted from an upstream's checkpoint do."
            " Put a new head of dolg_zoo.layers, such as CurricularFace, on the model instead."
        )
    check_hashes(folder, read_json(folder / METADATA), (CONFIG, MARGIN_HEAD))
    return load_margin_head(config["margin_head"], folder / MARGIN_HEAD)


def _network(
    description: PresetDescription, path: Path, dtype: str | keras.DTypePolicy | None
) -> DOLGNet:
    """Build the network that config.json at `path` describes."""
    # Keras raises errors of nearly every type for an invalid graph.
    errors = ValueError if description.backbone is None else Exception
    try:
        backbone = None
        if description.backbone is not None:
            backbone = deserialize_backbone(description.backbone, dtype)
        return DOLGNet(backbone, config=description.config)
    except (ForkedProcessError, MemoryError):
        raise
    except errors as error:
        raise import_fault(error) or PresetError(f"{path}: {error}") from error


def _to_json(values: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(values), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise PresetError(
            f"A preset's files are JSON, and this cannot be written as JSON: {error}. Give texts,"
            " numbers, lists and dictionaries only. Nothing was written."
        ) from error

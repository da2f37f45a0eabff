"""Convert an upstream's checkpoint to a preset, cached by the checkpoint's sha256."""

from __future__ import annotations

import atexit
import logging
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dolg_zoo._util.files import replacing_folder
from dolg_zoo.backbones import to_be_filled
from dolg_zoo.checkpoints.porting import LAYOUTS, MarginHead
from dolg_zoo.errors import PresetError
from dolg_zoo.models import DOLGConfig, DOLGNet
from dolg_zoo.preprocessing import ImageConverter
from dolg_zoo.presets.files import check_preset
from dolg_zoo.presets.folder import Preset, write_preset
from dolg_zoo.presets.weights_file import check_finite
from dolg_zoo.weights import CheckpointEntry, read_state_dict
from dolg_zoo.weights.conversion_cache import TEMPORARY, conversion_folder

logger = logging.getLogger(__name__)

# In RGB order: if the upstream used BGR, porting has flipped the first convolution.
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}

# The published scores are for images at five multiples of their own size. Images of Oxford and
# Paris have sides of 1024 pixels at most, so larger photographs are resized to that first.
OFFICIAL_CONVERTER = ImageConverter(
    size=1024,
    mode="max_side",
    interpolation="bilinear",
    antialias=False,
    scales=(0.3535, 0.5, 0.7071, 1.0, 1.4142),
    crop_queries=True,
)
VARIANTS = {
    "official_pytorch": (DOLGConfig.official, OFFICIAL_CONVERTER),
    "official_paddle": (DOLGConfig.official, OFFICIAL_CONVERTER),
    "dongkyuk_pytorch": (DOLGConfig.dongkyuk, ImageConverter(size=224, mode="squash")),
}


@dataclass(frozen=True)
class Conversion:
    """A preset made from a checkpoint."""

    preset: Preset  # with the upstream's preprocessing
    margin_head: MarginHead | None  # None if the checkpoint has no margin head
    tensors: int  # number of the network's and margin head's tensors in the checkpoint


def convert_checkpoint(path: Path, format: str, metadata: Mapping[str, Any]) -> Conversion:
    """Read a checkpoint without its framework, and port it to a preset.

    Args:
        path: a file that `dolg_zoo.weights.read_state_dict` reads.
        format: the upstream: a key of `dolg_zoo.checkpoints.porting.LAYOUTS`.
        metadata: facts about the weights, for the preset.

    Raises:
        CheckpointError: if the file cannot be read safely.
        PresetError: if the file is a checkpoint of another network.
    """
    checkpoint = read_state_dict(path)
    layout = LAYOUTS[format]
    state = layout.network_in(checkpoint)
    variant, converter = VARIANTS[format]
    try:
        config = variant(**IMAGENET, **layout.config(state))
        with to_be_filled():
            net = DOLGNet(config=config)
        arrays = layout.weights(state, {w.path: tuple(w.shape) for w in net.weights})
        head = layout.margin_head(state)
    except ValueError as error:
        hint = _similar_upstream(checkpoint, format)
        raise PresetError(f"{path} is no {format} checkpoint: {error}{hint}") from error
    for weight in net.weights:
        weight.assign(arrays.pop(weight.path))
    check_finite(net, path)
    return Conversion(Preset(net, converter, metadata), head, len(state))


def _similar_upstream(state: Mapping[str, np.ndarray], format: str) -> str:
    """Return a sentence that names the upstream of a similar checkpoint, or an empty text."""
    for other in LAYOUTS.keys() - {format}:
        with suppress(ValueError):
            LAYOUTS[other].config(LAYOUTS[other].network_in(state))
            return f" It looks like one of {other}: port it with tools/convert_{other}.py."
    return ""


def convert_to_cache(entry: CheckpointEntry, path: Path) -> Path:
    """Convert a verified checkpoint, write the preset to the cache and return its folder."""
    conversion = convert_checkpoint(path, entry.format, entry.metadata())
    backbone = conversion.preset.net.config.backbone
    if backbone != entry.architecture:
        raise PresetError(f"{path} is for {entry.name}, but its backbone is {backbone}.")

    try:
        folder = conversion_folder(entry)
        if folder is None:
            raise OSError("this user has no home folder")
        # If another process was faster, its folder stays: other processes may be reading it.
        with replacing_folder(folder, keep_if=_is_whole) as new:
            write_preset(new, conversion.preset, conversion.margin_head)
        return folder
    except OSError as error:
        logger.warning(
            "%s is converted again in each process, since the result cannot be cached: %s. Set"
            " DOLG_ZOO_CACHE to a folder that can be written.",
            entry.name,
            error,
        )
    folder = Path(tempfile.mkdtemp(prefix="dolg-zoo-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    write_preset(folder, conversion.preset, conversion.margin_head)
    TEMPORARY[entry.file.sha256] = folder
    return folder


def _is_whole(folder: Path) -> bool:
    try:
        check_preset(folder)
    except PresetError:
        return False
    return True

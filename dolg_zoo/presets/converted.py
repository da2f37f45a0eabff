"""Presets converted from upstream checkpoints, cached under the checkpoint's sha256."""

from __future__ import annotations

import atexit
import logging
import shutil
import tempfile
from pathlib import Path

from dolg_zoo._util.files import replacing_folder
from dolg_zoo.errors import PresetError
from dolg_zoo.presets.conversion import convert_checkpoint
from dolg_zoo.presets.files import check_preset
from dolg_zoo.presets.folder import write_preset
from dolg_zoo.weights import CheckpointEntry
from dolg_zoo.weights.kept import UNKEPT, conversion_folder

logger = logging.getLogger(__name__)


def convert_and_keep(entry: CheckpointEntry, path: Path) -> Path:
    """Convert a verified checkpoint, put the result in the cache and return its folder."""
    conversion = convert_checkpoint(path, entry.format, entry.metadata())
    backbone = conversion.preset.net.config.backbone
    if backbone != entry.architecture:
        raise PresetError(f"{path} is for {entry.name}, but its backbone is {backbone}.")

    try:
        folder = conversion_folder(entry)
        if folder is None:
            raise OSError("there is no home folder")
        # if another process was faster, others may be reading its folder
        with replacing_folder(folder, keep_if=_is_whole) as made:
            write_preset(made, conversion.preset, conversion.margin_head)
        return folder
    except OSError as error:
        logger.warning(
            "%s is converted again in each process, since the result cannot be kept: %s."
            " DOLG_ZOO_CACHE names the folder to keep it in.",
            entry.name,
            error,
        )
    folder = Path(tempfile.mkdtemp(prefix="dolg-zoo-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    write_preset(folder, conversion.preset, conversion.margin_head)
    UNKEPT[entry.file.sha256] = folder
    return folder


def _is_whole(folder: Path) -> bool:
    try:
        check_preset(folder)
    except PresetError:
        return False
    return True

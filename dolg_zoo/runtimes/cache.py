"""The cache of compiled models, valid until anything that they depend on changes.

A folder for each model, runtime and precision holds the runtime's files and record.json, which
states their sources. Another version or processor, or a changed file, and the folder is made anew.
The model's name is kept under the sha256 of its preset's files, to be found without Keras.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dolg_zoo._util.cache_folder import cache_folder
from dolg_zoo._util.files import replacing, replacing_folder
from dolg_zoo._util.hashing import sha256_of
from dolg_zoo._util.json_files import read_json_object
from dolg_zoo.runtimes.compile import runtime_module
from dolg_zoo.runtimes.cpu import cpu_id
from dolg_zoo.runtimes.registry import RUNTIMES

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
RECORD = "record.json"


def compiled_folder(model_id: str, runtime: str, precision: str) -> Path | None:
    """Return the folder for a compiled model, even a missing one; None without a cache folder."""
    parent = cache_folder()
    return parent and parent / "compiled" / model_id / f"{runtime}-{precision}"


def read_compiled(folder: Path, runtime: str) -> dict[str, Any] | None:
    """Return the record.json of a compiled model; None if a file is damaged or outdated."""
    if not os.path.isfile(folder / RECORD):  # noqa: PTH113 - Path.is_file raises where it may not look
        return None
    try:
        record = read_json_object(folder / RECORD)
        if record.get("made_by") != _maker(runtime):
            logger.info("%s was compiled by another version or processor", folder)
            return None
        hashes = record["sha256"]
        for name in runtime_module(runtime).FILES:
            if sha256_of(folder / name) != hashes[name]:
                raise ValueError(f"{name} is not the file that was written")
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("Compiling again, since %s is damaged: %s.", folder, error)
        return None
    return record


def write_compiled(
    folder: Path, runtime: str, record: Mapping[str, Any], write: Callable[[Path], None]
) -> None:
    """Write a compiled model's files whole or not at all; replace the old ones."""
    with replacing_folder(folder) as made:
        write(made)
        hashes = {name: sha256_of(made / name) for name in runtime_module(runtime).FILES}
        whole = {**record, "made_by": _maker(runtime), "sha256": hashes}
        (made / RECORD).write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


def remember_fault(model_id: str, runtime: str, precision: str, fault: str) -> None:
    """Keep why a runtime cannot compute a model, so that it is not tried in each process."""
    folder = compiled_folder(model_id, runtime, precision)
    if folder is None:
        return
    with suppress(OSError):  # it is tried again then
        folder.parent.mkdir(parents=True, exist_ok=True)
        with replacing(_fault_file(folder)) as file:
            kept = {"made_by": _maker(runtime), "fault": fault}
            file.write(json.dumps(kept).encode())


def remembered_fault(model_id: str, runtime: str, precision: str) -> bool:
    """Return whether this version of a runtime is known to fail for a model."""
    folder = compiled_folder(model_id, runtime, precision)
    if folder is None:
        return False
    try:
        return read_json_object(_fault_file(folder)).get("made_by") == _maker(runtime)
    except (OSError, ValueError):
        return False


def _fault_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}-fault.json")


def remember_preset(hashes: Mapping[str, str], model_id: str) -> None:
    """Keep which model the files of a preset hold, by their sha256."""
    link = _link(hashes)
    if link is None:
        return
    with suppress(OSError):  # it is but slower without
        link.parent.mkdir(parents=True, exist_ok=True)
        with replacing(link) as file:
            file.write(json.dumps({"model_id": model_id}).encode())


def remembered_model(hashes: Mapping[str, str]) -> str | None:
    """Return the id of the model in a preset's files if it is cached."""
    link = _link(hashes)
    if link is None:
        return None
    try:
        model_id = read_json_object(link).get("model_id")
    except (OSError, ValueError):
        return None
    if not isinstance(model_id, str) or len(model_id) != 32 or not model_id.isalnum():
        return None
    return model_id


def _link(hashes: Mapping[str, str]) -> Path | None:
    parent = cache_folder()
    digest = hashlib.sha256(json.dumps(sorted(hashes.items())).encode()).hexdigest()
    return parent and parent / "compiled" / "presets" / f"{digest[:32]}.json"


def _maker(runtime: str) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "dolg_zoo": version("dolg-zoo"),
        RUNTIMES[runtime].package: RUNTIMES[runtime].version,
        "processor": cpu_id(),
    }

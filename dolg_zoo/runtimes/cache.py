"""The cache of compiled models.

A folder for each model, runtime and precision has the runtime's files, and their sources in
record.json. Another version or processor, or a changed file, makes the folder invalid.
The model's id is cached under the sha256 of its preset's files, to find it without Keras.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dolg_zoo._util.cache_folder import cache_folder
from dolg_zoo._util.files import replacing_folder
from dolg_zoo._util.hashing import fault_in
from dolg_zoo._util.json_files import read_json_object
from dolg_zoo._util.records import hashes_of, keep_record, kept_record, stated_hashes, write_record
from dolg_zoo.runtimes.cpu import cpu_id
from dolg_zoo.runtimes.registry import RUNTIMES

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
RECORD = "record.json"


def compiled_folder(model_id: str, runtime: str, precision: str) -> Path | None:
    """Return the folder for a compiled model, even a missing one; None without a cache folder."""
    return cache_folder("compiled", model_id, f"{runtime}-{precision}")


def read_compiled(folder: Path, runtime: str) -> dict[str, Any] | None:
    """Return the record.json of a compiled model; None if a file is damaged or outdated."""
    try:
        record = read_json_object(folder / RECORD)
        if record.get("made_by") != _maker(runtime):
            logger.info("%s was compiled by another version or processor", folder)
            return None
        hashes = stated_hashes(record)
        for name in RUNTIMES[runtime].code.FILES:
            if fault := fault_in(folder / name, hashes[name]):
                raise ValueError(f"{name} has changed: {fault}")
        return record
    except (OSError, ValueError, KeyError) as error:
        if os.path.lexists(folder):
            logger.warning("Compiling again, since %s is damaged: %s.", folder, error)
        return None


def write_compiled(
    folder: Path, runtime: str, record: Mapping[str, Any], write: Callable[[Path], None]
) -> None:
    """Write a compiled model's files atomically, in place of old ones."""
    with replacing_folder(folder) as temporary:
        write(temporary)
        hashes = hashes_of(temporary, RUNTIMES[runtime].code.FILES)
        whole = {**record, "made_by": _maker(runtime), "sha256": hashes}
        write_record(temporary / RECORD, whole)


def remember_fault(model_id: str, runtime: str, precision: str, fault: str) -> None:
    """Cache why a runtime cannot compute a model, so that other processes do not try."""
    path = _fault_file(model_id, runtime, precision)
    keep_record(path, {"made_by": _maker(runtime), "fault": fault})


def remembered_fault(model_id: str, runtime: str, precision: str) -> bool:
    """Return whether this version of a runtime is known to fail for a model."""
    record = kept_record(_fault_file(model_id, runtime, precision))
    return record.get("made_by") == _maker(runtime)


def _fault_file(model_id: str, runtime: str, precision: str) -> Path | None:
    return cache_folder("compiled", model_id, f"{runtime}-{precision}-fault.json")


def remember_preset(hashes: Mapping[str, str], model_id: str) -> None:
    """Cache the id of a preset's model under the sha256 of the preset's files."""
    keep_record(_link(hashes), {"model_id": model_id})


def remembered_model(hashes: Mapping[str, str]) -> str | None:
    """Return the cached id of a preset's model by the hashes of its files."""
    model_id = kept_record(_link(hashes)).get("model_id")
    if not isinstance(model_id, str) or len(model_id) != 32 or not model_id.isalnum():
        return None
    return model_id


def _link(hashes: Mapping[str, str]) -> Path | None:
    digest = hashlib.sha256(json.dumps(sorted(hashes.items())).encode()).hexdigest()
    return cache_folder("compiled", "presets", f"{digest[:32]}.json")


def _maker(runtime: str) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "dolg_zoo": version("dolg-zoo"),
        RUNTIMES[runtime].package: RUNTIMES[runtime].version,
        "processor": cpu_id(),
    }

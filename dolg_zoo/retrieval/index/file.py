"""An index in one `.npz` file, for `numpy.load`: descriptors and names, no metadata."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dolg_zoo._util.outputs import Kind, writing
from dolg_zoo.retrieval.index.contents import check_names
from dolg_zoo.retrieval.unit_rows import first_not_unit

_DTYPES = {
    "names": "U",
    "descriptors": "f",
    "scales": "f",
    "model_id": "U",
    "model_name": "U",
    "skipped_names": "U",
    "skipped_reasons": "U",
}


def _is_own(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return {*archive.namelist()} == {f"{name}.npy" for name in _DTYPES}


INDEX_FILE = Kind("an index in a file", _is_own)


def write_file(path: str | Path, contents: Mapping[str, Any]) -> None:
    """Write the `.npz` file that `read_file` reads; if writing fails, the old file stays."""
    skipped = contents["skipped"]
    with writing(path, INDEX_FILE) as file:
        np.savez(
            file,
            names=np.array(contents["names"], str),
            descriptors=contents["descriptors"],
            scales=np.array(contents["scales"], float),
            model_id=np.array(contents["model_id"]),
            model_name=np.array(contents["model_name"]),
            skipped_names=np.array(list(skipped), str),
            skipped_reasons=np.array(list(skipped.values()), str),
        )


def read_file(path: str | Path) -> dict[str, Any]:
    """Return names, descriptors, scales, model and skipped images of an untrusted .npz file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in _DTYPES}
        _check_arrays(arrays)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # NumPy and zipfile raise half a dozen types for such files
        raise ValueError(
            f"{str(path)!r} is no index of dolg-zoo, or it is damaged: {error}. Build it again."
        ) from error
    pairs = zip(arrays["skipped_names"].tolist(), arrays["skipped_reasons"].tolist(), strict=True)
    return {
        "names": arrays["names"].tolist(),
        "descriptors": arrays["descriptors"],
        "scales": arrays["scales"].tolist(),
        "model_id": str(arrays["model_id"]),
        "model_name": str(arrays["model_name"]),
        "skipped": dict(pairs),
    }


def _check_arrays(arrays: Mapping[str, np.ndarray]) -> None:
    for name, kind in _DTYPES.items():
        if arrays[name].dtype.kind != kind:
            raise ValueError(f"{name} has the type {arrays[name].dtype}")
    names, descriptors, scales = arrays["names"], arrays["descriptors"], arrays["scales"]
    if descriptors.ndim != 2 or names.shape != descriptors.shape[:1]:
        raise ValueError("there is not one descriptor for each name")
    if not len(names):
        raise ValueError("it has no images")
    if first_not_unit(descriptors) is not None:
        raise ValueError("there are descriptors whose norm is not 1")
    if scales.ndim != 1 or not len(scales) or not ((scales > 0) & (scales <= 8)).all():
        raise ValueError(f"the scales {scales.tolist()} are not numbers above 0 and up to 8")
    if arrays["skipped_names"].ndim != 1 or (
        arrays["skipped_names"].shape != arrays["skipped_reasons"].shape
    ):
        raise ValueError("there is not one reason for each image that was skipped")
    check_names(names.tolist())

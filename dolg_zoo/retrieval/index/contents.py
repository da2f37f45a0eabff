"""The contents of an index folder: settings, descriptors, items and faiss' index."""

from __future__ import annotations

import json
import os
from collections import Counter, namedtuple
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from dolg_zoo._util.files import user_path
from dolg_zoo.retrieval.extraction.store import Settings
from dolg_zoo.retrieval.index.folder import read_folder, write_folder
from dolg_zoo.retrieval.search import approximate
from dolg_zoo.retrieval.search.approximate import Approximate
from dolg_zoo.retrieval.search.exact import Exact
from dolg_zoo.retrieval.unit_rows import first_not_unit

_Only = namedtuple("_Only", "write")

MAX_SKIPPED = 10_000
"""The most skipped images whose names and reasons the folder stores."""


def write_contents(folder: str | Path, contents: Mapping[str, Any]) -> None:
    """Write the folder that `read_contents` reads."""
    nearest: Exact | Approximate = contents["nearest"]
    settings = {
        "kind": nearest.kind,
        "rows": len(contents["names"]),
        "dim": contents["descriptors"].shape[1],
        "model_id": contents["model_id"],
        "model_name": contents["model_name"],
        "scales": contents["scales"],
        "images": str(Path(contents["folder"]).absolute()),  # the first folder to try
        "recall": nearest.recall,
        "skipped": dict(islice(contents["skipped"].items(), MAX_SKIPPED)),
    }
    # If NumPy gets the file itself, it does not report a full disk.
    writers = {"descriptors": lambda file: np.save(_Only(file.write), contents["descriptors"])}
    numbers = None
    if isinstance(nearest, Approximate):
        settings |= {"asked_recall": nearest.asked, "parameters": nearest.parameters}
        writers["faiss"] = lambda file: approximate.write(nearest.faiss_index, file)
        numbers = nearest.numbers
    identities = contents["identities"]
    items = _items_as_parquet(contents["names"], contents["metadata"], identities, numbers)
    writers["items"] = lambda file: file.write(items)
    write_folder(folder, settings, writers)


def read_contents(folder: str | Path) -> dict[str, Any]:
    """Return the contents of an index, descriptors memory-mapped; ValueError names a bad file."""
    settings, paths = read_folder(folder)
    path = user_path(folder) / "index.json"
    try:
        model_settings = _checked(settings)
        path = paths["descriptors"]
        descriptors = _mapped(path, settings["rows"], settings["dim"])
        path = paths["items"]
        names, metadata, identities, numbers = _items_from_parquet(path, settings["rows"])
        nearest: Exact | Approximate = Exact(descriptors)
        if settings["kind"] != "exact":
            path = paths.get("faiss", user_path(folder) / "index.json")
            nearest = _approximate(settings, descriptors, numbers, paths)
    except (ValueError, KeyError) as error:
        raise ValueError(f"{str(path)!r} is no file of a dolg-zoo index: {error}") from error
    return {
        "names": names,
        "descriptors": descriptors,
        "scales": model_settings.scales,
        "model_id": model_settings.model_id,
        "model_name": model_settings.model_name,
        "skipped": settings["skipped"],
        "metadata": metadata,
        "identities": identities,
        "nearest": nearest,
        "folder": settings["images"],
    }


def _checked(settings: Mapping[str, Any]) -> Settings:
    scales = settings["scales"]
    model_settings = Settings(
        settings["model_id"],
        settings["model_name"],
        settings["dim"],
        "float32",
        tuple(scales) if isinstance(scales, list) else scales,
    )
    if type(settings["rows"]) is not int or settings["rows"] < 0:
        raise ValueError(f"rows is {settings['rows']!r:.80}")
    if settings["kind"] not in approximate.KINDS:
        raise ValueError(f"kind is {settings['kind']!r:.80}")
    skipped = settings["skipped"]
    if not isinstance(skipped, dict) or not all(isinstance(why, str) for why in skipped.values()):
        raise ValueError("skipped does not give a reason for each image")
    if not isinstance(settings["images"], str) or "\0" in settings["images"]:
        raise ValueError(f"images is {settings['images']!r:.80}")
    return model_settings


def _mapped(path: Path, rows: int, dim: int) -> np.ndarray:
    descriptors = np.load(path, mmap_mode="r" if rows else None, allow_pickle=False)
    if descriptors.dtype != np.dtype("<f4") or descriptors.shape != (rows, dim):
        raise ValueError(
            f"it holds {descriptors.dtype} of shape {descriptors.shape}, not {(rows, dim)}"
        )
    if not descriptors.flags.c_contiguous:
        raise ValueError("its rows are not contiguous")
    if (row := first_not_unit(descriptors)) is not None:
        raise ValueError(f"the norm of row {row} is not 1")
    return descriptors


def _approximate(
    settings: Mapping[str, Any],
    descriptors: np.ndarray,
    numbers: np.ndarray | None,
    paths: Mapping[str, Path],
) -> Approximate:
    kind, parameters = settings["kind"], settings["parameters"]
    if "faiss" not in paths or numbers is None:
        raise ValueError(f"there is no index of the kind {kind}")
    for name in ("recall", "asked_recall"):
        if type(settings[name]) not in (int, float) or not 0 <= settings[name] <= 1:
            raise ValueError(f"{name} is {settings[name]!r:.80}")
    approximate.check_parameters(parameters, kind)
    index = approximate.read(paths["faiss"])
    approximate.check(index, kind, settings["dim"], numbers)
    return Approximate(
        kind, descriptors, index, numbers, settings["asked_recall"], parameters, settings["recall"]
    )


def check_names(names: Sequence[str]) -> None:
    """Raise ValueError if a name is there twice or leads out of the images' folder."""
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise ValueError(f"the name {twice!r} is there twice")
    for name in names:
        # An untrusted index must not make a search open files outside the folder.
        if name[:1] in "/" or (".." in name and ".." in PurePosixPath(name).parts):
            raise ValueError(f"the name {name!r} leads out of the folder")


def checked_metadata(
    metadata: Sequence[Mapping[str, Any] | None], rows: int
) -> list[dict[str, Any]]:
    """Return a JSON dictionary for each row, or raise ValueError."""
    if len(metadata) != rows:
        raise ValueError(f"metadata must have {rows} entries, one per image, not {len(metadata)}.")
    for entry in metadata:
        if entry is not None and not isinstance(entry, Mapping):
            raise ValueError(f"metadata must be dictionaries, not {entry!r:.200}.")
        try:
            json.dumps(entry and dict(entry), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"metadata must be valid JSON, not {entry!r:.200}.") from error
    return [dict(entry or {}) for entry in metadata]


def _items_as_parquet(
    names: Sequence[str],
    metadata: Sequence[Mapping[str, Any]],
    identities: Sequence[str],
    numbers: np.ndarray | None,
) -> memoryview:
    """Return a Parquet file: `id`, `metadata` (JSON or null), `identity`, `number` (or null)."""
    # `id` is a string column, or a binary column if a name has bytes that are not UTF-8.
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        ids = pa.array(names, pa.string())
    except UnicodeEncodeError:
        ids = pa.array([os.fsencode(name) for name in names], pa.binary())
    texts = [json.dumps(entry) if entry else None for entry in metadata]
    numbers = pa.nulls(len(names), pa.int64()) if numbers is None else pa.array(numbers)
    columns = {
        "metadata": pa.array(texts, pa.string()),
        "identity": pa.array(identities, pa.string()),
    }
    table = pa.table({"id": ids, **columns, "number": numbers})
    out = pa.BufferOutputStream()
    pq.write_table(table, out)
    return memoryview(out.getvalue())


def _items_from_parquet(
    path: Path, rows: int
) -> tuple[list[str], list[dict[str, Any]], list[str], np.ndarray | None]:
    """Read names, metadata, identities and numbers (or None) from a file of `_items_as_parquet`."""
    # Old versions wrote no column `identity`.
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        if file.metadata.num_rows != rows:
            raise ValueError(f"it has {file.metadata.num_rows} rows, but index.json states {rows}")
        table = file.read(["id", "metadata", "identity", "number"])
        identities = [""] * rows
        if "identity" in table.column_names:
            identities = [str(text or "") for text in table["identity"].to_pylist()]
        names = [os.fsdecode(name) for name in table["id"].to_pylist()]
        texts = table["metadata"].to_pylist()
        metadata = [json.loads(text) if text else {} for text in texts]
        numbers = table["number"]
        if numbers.type != pa.int64() or numbers.null_count not in (0, rows):
            raise ValueError("its numbers are not whole numbers")
        check_names(names)
        metadata = checked_metadata(metadata, rows)
    except (pa.ArrowException, OSError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(str(error)) from error
    return names, metadata, identities, None if numbers.null_count else numbers.to_numpy()

"""The names, metadata and records of an index's images."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np


def check_names(names: Sequence[str]) -> None:
    """Raise ValueError if a name is there twice or leads out of the images' folder."""
    if len(set(names)) < len(names):
        twice = next(name for name, times in Counter(names).items() if times > 1)
        raise ValueError(f"the name {twice!r} is there twice")
    for name in names:
        # a stranger's file must not make a search open what lies outside the folder
        if name[:1] in "/" or (".." in name and ".." in PurePosixPath(name).parts):
            raise ValueError(f"the name {name!r} leads out of the folder")


def checked_metadata(
    metadata: Sequence[Mapping[str, Any] | None], rows: int
) -> list[dict[str, Any]]:
    """Return a JSON dictionary for each row, or raise ValueError."""
    if len(metadata) != rows:
        raise ValueError(f"metadata must have an entry for each of {rows} images: {len(metadata)}.")
    for entry in metadata:
        if entry is not None and not isinstance(entry, Mapping):
            raise ValueError(f"metadata must be dictionaries, not {entry!r:.200}.")
        try:
            json.dumps(entry and dict(entry), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"metadata must be what JSON can hold, not {entry!r:.200}.") from error
    return [dict(entry or {}) for entry in metadata]


def items_as_parquet(
    names: Sequence[str],
    metadata: Sequence[Mapping[str, Any]],
    identities: Sequence[str],
    numbers: np.ndarray | None,
) -> memoryview:
    """Return a Parquet file: `id`, `metadata` (JSON or null), `identity`, `number` (or null)."""
    # `id` is a string column, or a binary one if a name has bytes that are no text
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


def items_from_parquet(
    path: Path, rows: int
) -> tuple[list[str], list[dict[str, Any]], list[str], np.ndarray | None]:
    """Read names, metadata, identities and numbers (or None) from a file of `items_as_parquet`."""
    # old versions wrote no identities
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        if file.metadata.num_rows != rows:
            raise ValueError(f"it has {file.metadata.num_rows} rows, and {rows} are promised")
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

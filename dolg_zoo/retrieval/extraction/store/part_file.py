"""The bytes of a part: a Parquet file with the columns `id` and `descriptor`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_PLAIN = {"PLAIN", "RLE", "BIT_PACKED"}


def fault_in_id(name: object) -> str | None:
    """Why a name cannot be an id, in words, or None."""
    if not isinstance(name, str):
        return f"is no text but {type(name).__name__}"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "is not UTF-8 text; rename the file"
    return None if name else "is empty"


def encode(ids: Sequence[str], descriptors: np.ndarray) -> memoryview:
    """Return the part's bytes; descriptors are (len(ids), dim), float32 or float16."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    values = pa.array(np.ascontiguousarray(descriptors).reshape(-1))
    columns = [
        pa.array(ids, pa.string()),
        pa.FixedSizeListArray.from_arrays(values, descriptors.shape[1]),
    ]
    schema = _schema(descriptors.shape[1], descriptors.dtype)
    out = pa.BufferOutputStream()
    # descriptors do not compress, and a reader knows what an uncompressed file can hold
    options = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), out, **options)
    return memoryview(out.getvalue())


def decode(
    data: bytes, rows: int, dim: int, dtype: str, with_descriptors: bool = True
) -> tuple[list[str], np.ndarray | None]:
    """Return the ids, and the descriptors, (rows, dim) float32.

    Raises:
        ValueError: if the bytes are no part, or not of so many rows; says what is wrong.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        _check(file, rows, _schema(dim, np.dtype(dtype)))
        table = file.read(None if with_descriptors else ["id"])
        table.validate(full=True)
        ids = table["id"].to_pylist()
        for name in ids:
            if fault := fault_in_id(name):
                raise ValueError(f"the id {name!r} {fault}")
        if not with_descriptors:
            return ids, None
        column = table["descriptor"].combine_chunks()
        descriptors = _values(column, dim).reshape(rows, dim).astype(np.float32)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(str(error)) from error
    if not np.isfinite(descriptors).all():
        raise ValueError("a descriptor in it is not finite")
    return ids, descriptors


def _values(lists: pa.FixedSizeListArray, dim: int) -> np.ndarray:
    """Return the numbers in lists of `dim`, one after another.

    `flatten` imports pyarrow.compute, and `to_numpy` pandas if it is installed: half a second.
    """
    values = lists.values
    if lists.null_count or values.null_count:
        raise ValueError("a descriptor in it is null")
    start = values.offset + lists.offset * dim
    numbers = np.frombuffer(values.buffers()[1], values.type.to_pandas_dtype())
    return numbers[start : start + len(lists) * dim]


def _schema(dim: int, dtype: np.dtype) -> pa.Schema:
    import pyarrow as pa

    element = pa.field("element", pa.from_numpy_dtype(dtype), nullable=False)
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("descriptor", pa.list_(element, dim), nullable=False),
        ]
    )


def _check(file: pq.ParquetFile, rows: int, schema: pa.Schema) -> None:
    if not file.schema_arrow.equals(schema):
        raise ValueError(f"its columns are {file.schema_arrow.to_string()[:300]!r}")
    metadata = file.metadata
    if metadata.num_rows != rows:
        raise ValueError(f"it has {metadata.num_rows} rows, and {rows} are promised")
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            # what is packed could unfold to more than the memory holds
            if column.compression != "UNCOMPRESSED" or not set(column.encodings) <= _PLAIN:
                raise ValueError(f"{column.path_in_schema} is compressed")

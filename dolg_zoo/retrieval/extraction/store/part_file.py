"""The bytes of a part: a Parquet file with the columns `id`, `descriptor` and `identity`.

Old versions wrote no column `identity`.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dolg_zoo.retrieval.extraction.identity import Identity

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_PLAIN = {"PLAIN", "RLE", "BIT_PACKED"}


def fault_in_id(name: object) -> str | None:
    """Return the reason why a name cannot be an id, or None."""
    if not isinstance(name, str):
        return f"is no text but {type(name).__name__}"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "is not UTF-8 text; rename the file"
    return None if name else "is empty"


class Rows(NamedTuple):
    """The ids of images, their records, and their descriptors, (len(ids), dim)."""

    ids: list[str]
    identities: Sequence[Identity]
    descriptors: np.ndarray

    def changed(self, drop: Container[str], identities: Mapping[str, Identity]) -> Rows:
        """Return the rows without the ids in `drop`, with new records from `identities`."""
        rows = [row for row, id in enumerate(self.ids) if id not in drop]
        ids = [self.ids[row] for row in rows]
        records = [identities.get(self.ids[row], self.identities[row]) for row in rows]
        return Rows(ids, records, self.descriptors[rows])

    @classmethod
    def joined(cls, parts: Sequence[Rows]) -> Rows:
        """Return the rows of all parts together."""
        ids, records, descriptors = zip(*parts, strict=True)
        return cls([*chain(*ids)], [*chain(*records)], np.concatenate(descriptors))


def encode(rows: Rows, dtype: str) -> memoryview:
    """Return the part's bytes, the descriptors in float32 or float16."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    descriptors = rows.descriptors.astype(dtype)
    values = pa.array(np.ascontiguousarray(descriptors).reshape(-1))
    columns = [
        pa.array(rows.ids, pa.string()),
        pa.FixedSizeListArray.from_arrays(values, descriptors.shape[1]),
        pa.array(map(str, rows.identities), pa.string()),
    ]
    schema = _schema(descriptors.shape[1], descriptors.dtype)
    out = pa.BufferOutputStream()
    # Descriptors do not compress, and an uncompressed file limits the memory that a reader needs.
    options = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), out, **options)
    return memoryview(out.getvalue())


def decode(
    data: bytes, rows: int, dim: int, dtype: str, written_ns: int, with_descriptors: bool = True
) -> Rows:
    """Return a part's rows, descriptors (rows, dim) float32; raise ValueError if it is invalid."""
    # `written_ns` is the record of rows that have none. Without descriptors, their shape is
    # (0, dim).
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        _check(file, rows, _schema(dim, np.dtype(dtype)))
        # No threads: an Arrow thread that frees bytes while Python ends would abort the process.
        table = file.read(None if with_descriptors else ["id", "identity"], use_threads=False)
        table.validate(full=True)
        ids = table["id"].to_pylist()
        for name in ids:
            if fault := fault_in_id(name):
                raise ValueError(f"the id {name!r} {fault}")
        is_recorded = "identity" in table.column_names
        texts = table["identity"].to_pylist() if is_recorded else [None] * rows
        identities = [Identity.parse(text, written_ns) for text in texts]
        if not with_descriptors:
            return Rows(ids, identities, np.empty((0, dim), np.float32))
        column = table["descriptor"].combine_chunks()
        descriptors = _values(column, dim).reshape(rows, dim).astype(np.float32)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(str(error)) from error
    if not np.isfinite(descriptors).all():
        raise ValueError("a descriptor in it is not finite")
    return Rows(ids, identities, descriptors)


def _values(lists: pa.FixedSizeListArray, dim: int) -> np.ndarray:
    """Return the numbers in lists of `dim` as one flat array."""
    # `flatten` imports pyarrow.compute and `to_numpy` imports pandas, which take half a second.
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
            pa.field("identity", pa.string(), nullable=False),
        ]
    )


def _check(file: pq.ParquetFile, rows: int, schema: pa.Schema) -> None:
    if not any(file.schema_arrow.equals(known) for known in (schema, schema.remove(2))):
        raise ValueError(f"its columns are {file.schema_arrow.to_string()[:300]!r}")
    metadata = file.metadata
    if metadata.num_rows != rows:
        raise ValueError(f"it has {metadata.num_rows} rows, but store.json states {rows}")
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            # A compressed column could need more memory than the machine has.
            if column.compression != "UNCOMPRESSED" or not set(column.encodings) <= _PLAIN:
                raise ValueError(f"{column.path_in_schema} is compressed")

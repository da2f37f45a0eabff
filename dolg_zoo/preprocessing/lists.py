"""Lists of images in CSV and Parquet, each line checked as foreign input."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dolg_zoo._util.csv_lists import checked, image_path, rows, stays_inside
from dolg_zoo._util.text import plain_label
from dolg_zoo.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

LIST_SUFFIXES = (".csv", ".parquet")
IMAGE, ID = "image", "id"


def read_list(
    path: Path, images: Path | None = None, anywhere: bool = False
) -> tuple[Path, list[str], list[str]]:
    """Return the folder of a list's images, their ids, and their paths relative to the folder."""
    folder = path.parent if images is None else images
    is_inside = stays_inside(folder)
    first: dict[str, int] = {}
    names: list[str] = []
    count, read = ("line", _csv_rows) if path.suffix.lower() == ".csv" else ("row", _parquet_rows)
    for number, row in read(path):
        where = f"{path}, {count} {number}"
        name = image_path(row[IMAGE], folder, where)
        if not anywhere and not is_inside(Path(name)):
            raise DataError(
                f"{where}: {name!r} leads out of the folder {str(folder)!r}. If"
                " you trust the list, allow it with --anywhere (anywhere=True); or name the folder"
                " that its paths are relative to with --images (images=…)."
            )
        image = plain_label(row[ID]) if ID in row else Path(name).as_posix()
        if first.setdefault(image, number) != number:
            raise DataError(
                f"{where}: {image!r} is in {count} {first[image]} already; remove"
                " one, or tell them apart in a column id."
            )
        names.append(name)
    if not names:
        raise DataError(f"{path} lists no images.")
    ids = list(first)
    return folder, names if ids == names else ids, names


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    return rows(path, [IMAGE], [ID])


def _parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            columns = [name for name in (IMAGE, ID) if name in schema.names]
            if IMAGE not in columns:
                raise DataError(
                    f"{path} must have a column {IMAGE!r}; it has"
                    f" {', '.join(map(repr, schema.names[:20]))}."
                )
            for column in columns:
                if not _is_text(schema.field(column).type):
                    raise DataError(
                        f"{path}: the column {column!r} must hold text, not"
                        f" {schema.field(column).type}."
                    )
            number = 0
            for batch in file.iter_batches(columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    where = f"{path}, row {number}"
                    yield number, {name: checked(row[name] or "", name, where) for name in columns}
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        if isinstance(error, OSError) and error.errno:  # Arrow's OSError for damage has none
            raise
        raise DataError(f"{path} is no Parquet file, or is damaged: {error}") from error


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)

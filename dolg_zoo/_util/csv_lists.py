"""CSV files that list images, each line checked as foreign input."""

from __future__ import annotations

import csv
import functools
import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PureWindowsPath

from dolg_zoo._util.files import user_path
from dolg_zoo._util.text import plain_label
from dolg_zoo.errors import DataError

MAX_LINE = 2**21
"""Maximum length of a line, so that a file without line ends does not fill the memory. The clean
list of GLDv2 has all images of a landmark in one line; this allows a hundred thousand."""


def rows(
    path: str | Path, columns: Sequence[str], optional: Sequence[str] = (), hint: str = ""
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, non-empty values by column) for each row of a CSV file with a header."""
    # other columns are ignored; `hint` is advice for the error about a missing column
    reader = csv.reader(lines(path), strict=True, skipinitialspace=True)
    try:
        header = [*map(plain_label, next(reader, []))]
        columns = [*columns, *(column for column in optional if column in header)]
        index_of = {column: _column_index(column, header, path, hint) for column in columns}
        for row in filter(None, reader):
            where = f"{path}, line {reader.line_num}"
            if len(row) != len(header):
                raise DataError(
                    f"{where} has {len(row)} values, but the header has {len(header)}; put a value"
                    " that contains a comma in double quotes."
                )
            yield (
                reader.line_num,
                {column: checked(row[index], column, where) for column, index in index_of.items()},
            )
    except csv.Error as error:
        remedy = (
            "save the file as UTF-8 with commas"
            if "NUL" in str(error)  # Python 3.10 refuses NUL anywhere
            else "look for a double quote that is not closed, or not doubled inside a value"
        )
        raise DataError(f"{path}, line {reader.line_num}: {error}; {remedy}.") from error


def lines(path: str | Path) -> Iterator[str]:
    """Yield the lines of a text file; bytes that are not UTF-8 become surrogates."""
    # `checked` refuses bytes that are not UTF-8, in the columns that matter
    with user_path(path).open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE + 1), ""), 1):
            if len(line) > MAX_LINE:
                raise DataError(
                    f"{path}, line {number} has more than {MAX_LINE} characters, beginning with"
                    f" {line[:40]!r}; this is not a list of images."
                )
            yield line


def _column_index(column: str, header: list[str], path: str | Path, hint: str) -> int:
    name = plain_label(column)  # like the names in the header
    if header.count(name) != 1:
        raise DataError(
            f"The header of {path} must name the column {column!r} once; it has"
            f" {', '.join(map(repr, header[:20])) or 'nothing'}; {hint}save the file as UTF-8 with"
            " commas."
        )
    return header.index(name)


def checked(value: str, column: str, where: str) -> str:
    """Return the value; raise DataError if it is empty, has a NUL character or is not UTF-8."""
    try:
        value.encode()
        fault = "has a NUL character" if "\0" in value else "" if value.strip() else "is empty"
    except UnicodeEncodeError:
        fault = "is not UTF-8 text"
    if fault:
        raise DataError(f"{where}: {column} {fault}: {value[:80]!r}; correct or remove the line.")
    return value


def image_path(text: str, folder: Path, where: str) -> str:
    """Return an image's normalised path; raise DataError for a Windows drive elsewhere."""
    # Blanks at the ends are removed unless a file has them. Backslashes separate folders, as on
    # Windows (`a\1.jpg`), unless a file has them in its name. Accented letters may have either
    # Unicode form (composed, or macOS's decomposed) if exactly one file matches.
    if not os.path.lexists(folder / text):
        text = text.strip()
    if os.sep == "/" and not os.path.lexists(folder / text):
        windows = PureWindowsPath(text)
        if windows.drive and windows.root:
            raise DataError(
                f"{where}: {text!r} is a path on a Windows machine; write paths relative to the"
                " folder of the images, such as 'a/1.jpg'."
            )
        text = text.replace("\\", "/")
    text = os.path.normpath(text)
    if not text.isascii() and not os.path.lexists(folder / text):
        return _in_the_form_of_the_file(text, folder)
    return text


def _in_the_form_of_the_file(text: str, folder: Path) -> str:
    """Return a path with the Unicode form of the only matching file, else unchanged."""
    matched = Path()
    for part in Path(text).parts:
        if not os.path.lexists(folder / matched / part):
            try:
                names = _names(folder / matched, (folder / matched).stat().st_mtime_ns)
            except OSError:
                return text
            if len(fitting := names.get(unicodedata.normalize("NFC", part), [])) != 1:
                return text
            [part] = fitting
        matched /= part
    return str(matched)


@functools.lru_cache(2**8)
def _names(folder: Path, changed: int) -> dict[str, list[str]]:
    """Return the names in a folder by their composed form; `changed` keys the cache."""
    names: dict[str, list[str]] = {}
    for path in folder.iterdir():
        names.setdefault(unicodedata.normalize("NFC", path.name), []).append(path.name)
    return names


def stays_inside(folder: Path) -> Callable[[Path], bool]:
    """Return a function: whether a normalised path stays in the folder, with links followed."""
    root = Path(folder).resolve()

    def leads_inside(path: Path) -> bool:
        return path.resolve().is_relative_to(root)

    # check each folder once, since a check reads every part of its path
    folder_leads_inside = functools.lru_cache(2**12)(leads_inside)

    def is_inside(path: Path) -> bool:
        if path.is_absolute() or path.parts[:1] == ("..",):
            return False
        path = root / path
        return leads_inside(path) if path.is_symlink() else folder_leads_inside(path.parent)

    return is_inside

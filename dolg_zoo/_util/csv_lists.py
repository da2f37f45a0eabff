"""CSV files that list images; no line of them is trusted."""

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
"""The most characters of a line, so that a file without line ends does not fill the memory. The
clean list of GLDv2 has all images of a landmark in one line; this is a hundred thousand of them."""


def rows(
    path: str | Path, columns: Sequence[str], optional: Sequence[str] = (), hint: str = ""
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, non-empty values by column) for each row of a CSV file with a header."""
    # columns that are in neither list are ignored; `hint` is advice for the error of a missing
    # column
    found = csv.reader(lines(path), strict=True, skipinitialspace=True)
    try:
        header = [*map(plain_label, next(found, []))]
        columns = [*columns, *(column for column in optional if column in header)]
        index_of = {column: _column_index(column, header, path, hint) for column in columns}
        for row in filter(None, found):
            where = f"{path}, line {found.line_num}"
            if len(row) != len(header):
                raise DataError(
                    f"{where} has {len(row)} values where the header has {len(header)}; put a value"
                    " that has a comma in it in double quotes."
                )
            yield (
                found.line_num,
                {column: checked(row[index], column, where) for column, index in index_of.items()},
            )
    except csv.Error as error:
        remedy = (
            "save the file as UTF-8 with commas"
            if "NUL" in str(error)  # which Python 3.10 refuses anywhere
            else "look for a double quote that is not closed, or that stands inside a value and is"
            " not doubled"
        )
        raise DataError(f"{path}, line {found.line_num}: {error}; {remedy}.") from error


def lines(path: str | Path) -> Iterator[str]:
    """Yield the lines of a text file; bytes that are not UTF-8 become surrogates."""
    # other bytes are refused later, with their line, if the column is used
    with user_path(path).open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE + 1), ""), 1):
            if len(line) > MAX_LINE:
                raise DataError(
                    f"{path}, line {number} has more than {MAX_LINE} characters, beginning with"
                    f" {line[:40]!r}; this is no list of images."
                )
            yield line


def _column_index(column: str, header: list[str], path: str | Path, hint: str) -> int:
    name = plain_label(column)  # the names of the header are stripped alike
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
    # Blanks at the ends stay only if such a file exists. Backslashes separate folders, as Windows
    # writes them (`a\1.jpg`), unless an existing file has them in its name. Accented letters may
    # have either Unicode form (composed, or macOS's decomposed) if exactly one file fits.
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
    """Return a path with its accents as those of the one file that fits; if none does, as it is."""
    found = Path()
    for part in Path(text).parts:
        if not os.path.lexists(folder / found / part):
            try:
                names = _names(folder / found, (folder / found).stat().st_mtime_ns)
            except OSError:
                return text
            if len(fitting := names.get(unicodedata.normalize("NFC", part), [])) != 1:
                return text
            [part] = fitting
        found /= part
    return str(found)


@functools.lru_cache(2**8)
def _names(folder: Path, changed: int) -> dict[str, list[str]]:
    """Return the names in a folder, as it was when it last changed, by their composed form."""
    names: dict[str, list[str]] = {}
    for path in folder.iterdir():
        names.setdefault(unicodedata.normalize("NFC", path.name), []).append(path.name)
    return names


def stays_inside(folder: Path) -> Callable[[Path], bool]:
    """Return whether a normalised path below the folder stays in it when links are followed."""
    root = Path(folder).resolve()

    def leads_inside(path: Path) -> bool:
        return path.resolve().is_relative_to(root)

    # check each folder once: the check reads every part of its path
    folder_leads_inside = functools.lru_cache(2**12)(leads_inside)

    def is_inside(path: Path) -> bool:
        if path.is_absolute() or path.parts[:1] == ("..",):
            return False
        path = root / path
        return leads_inside(path) if path.is_symlink() else folder_leads_inside(path.parent)

    return is_inside

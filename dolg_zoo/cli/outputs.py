"""Files that a command is told to write."""

from __future__ import annotations

import os
from pathlib import Path


def check_output(path: Path) -> None:
    """Raise OSError if the file cannot be written: to be asked before the long work begins."""
    from dolg_zoo._util.files import is_special

    parent = path.resolve().parent
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder; give the name of a file to write.")
    if is_special(path):
        return  # it is written to where it is, and needs no folder
    if not parent.is_dir():
        raise FileNotFoundError(f"There is no folder {str(parent)!r} to write {path.name!r} into.")
    if not os.access(parent, os.W_OK):
        raise PermissionError(f"Nothing may be written into the folder {str(parent)!r}.")


def check_preset_folder(path: Path) -> None:
    """Raise OSError or ValueError if no preset folder can be written under that name."""
    from dolg_zoo._util.files import check_folder_name

    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"{str(path)!r} is a file; give the name of a folder to write.")
    check_folder_name(path, "Leave the ending out; a preset is a folder of several files.")


def check_picture(path: Path) -> None:
    """`check_output`, and raises ValueError if no picture can be written under that name."""
    from dolg_zoo.drawing.montage import picture_format

    picture_format(path)
    check_output(path)


def check_figure(path: Path) -> None:
    """`check_output`, and raises ValueError if no figure can be written under that name."""
    from dolg_zoo.drawing.style import figure_format

    figure_format(path)
    check_output(path)


def shown(path: Path | str) -> str:
    """Return a path as it can be printed."""
    from dolg_zoo._util.text import printable

    return printable(str(path))

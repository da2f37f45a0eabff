"""The image files of a folder."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from dolg_zoo._util.files import user_path
from dolg_zoo._util.outputs import is_own_picture
from dolg_zoo._util.text import plain_label

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".tif"}
    | {".tiff", ".avif", ".avifs", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".jpeg2000"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".pfm"}
    | {".heic", ".heics", ".heif", ".heifs", ".hif"}
    # photographs that cannot be read here: better named among the skipped than passed over
    | {".jxl"}
)
"""Endings, in lower case, of the names that are taken for images."""

SET_ASIDE = frozenset(
    {"@eadir", "#recycle", "#snapshot", "@tmp", "@__thumb", "@recycle", "@recently-snapshot"}  # NAS
    | {"$recycle.bin", "recycler", "system volume information"}  # Windows
    | {"__macosx", "network trash folder", "temporary items"}  # macOS, on disks of others
)
"""Folders, in lower case, where systems keep thumbnails, metadata and what was thrown away."""

_log = logging.getLogger(__name__)


def is_set_aside(name: str) -> bool:
    """Whether a system, and no user, put aside what is in a file or folder of this name."""
    return name.startswith(".") or name.lower() in SET_ASIDE


def list_images(folder: str | Path) -> list[Path]:
    """Return the image files of `folder` and the folders below it, sorted by path.

    A file counts by the ending of its name (`IMAGE_SUFFIXES`, in upper or lower case), whatever
    it is: a link to nowhere is listed too, for `load_image` to refuse it in words. Pictures that
    dolg-zoo made, such as montages and maps, are passed over. Files and
    folders whose name starts with a dot are skipped, and so are those in `SET_ASIDE`, such as
    `@eaDir` or `$RECYCLE.BIN`: they are thumbnails, metadata and rubbish bins. Links are followed,
    but each folder is listed once, under its own name where it has one here, so links that lead in
    a circle do no harm. A folder below that cannot be read is left out, with a warning in the log
    of this module that names it.

    Raises:
        FileNotFoundError: there is no such folder.
        NotADirectoryError: it is a file.
        ValueError: there is no image in it.
        PermissionError: it may not be read.
    """
    folder = user_path(folder)
    if not folder.exists():
        raise FileNotFoundError(f"there is no folder {str(folder)!r} to look for images in")
    if not folder.is_dir():
        raise NotADirectoryError(f"{str(folder)!r} is a file; give the folder that holds images")
    images: list[Path] = []
    folders, links = [folder], list[Path]()
    seen: set[tuple[int, int]] = set()
    while folders or links:
        here = (folders or links).pop()  # links last: a folder goes by its own name if it can
        try:
            status = here.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(here) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            if here is folder:
                raise
            _log.warning("left out, with any image in it: %r (%s)", str(here), error.strerror)
            continue
        for entry in entries:
            if is_set_aside(entry.name):
                continue
            path = here / entry.name
            is_image = path.suffix.lower() in IMAGE_SUFFIXES
            try:
                is_folder = entry.is_dir()
            except OSError:  # a link that cannot be followed; the name has to tell
                is_folder = not is_image
            if is_folder:
                (links if entry.is_symlink() else folders).append(path)
            elif is_image and not is_own_picture(path):
                images.append(path)
    if not images:
        endings = " ".join(sorted(IMAGE_SUFFIXES))
        raise ValueError(f"no image in {str(folder)!r}: no visible file there ends in {endings}")
    return sorted(images)


def folder_labels(names: Sequence[str]) -> list[str] | None:
    """Return the subfolder of each image; None unless all are in one, and there are several."""
    folders = [plain_label(name.partition("/")[0]) for name in names if "/" in name]
    return folders if len(folders) == len(names) and len(set(folders)) > 1 else None

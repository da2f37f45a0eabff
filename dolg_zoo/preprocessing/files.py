"""The image files of a folder."""

from __future__ import annotations

import os
from pathlib import Path

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".tif"}
    | {".tiff", ".avif", ".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm"}
)
"""Endings, in lower case, of the names that are taken for images."""


def list_images(folder: str | Path) -> list[Path]:
    """Return the image files of `folder` and the folders below it, sorted by path.

    A file counts by the ending of its name (`IMAGE_SUFFIXES`, in upper or lower case). Files and
    folders whose name starts with a dot are skipped: they are thumbnails, metadata and rubbish
    bins. Links are followed, but each folder is listed once, under its own name where it has
    one here, so links that lead in a circle do no harm.

    Raises:
        FileNotFoundError: there is no such folder.
        NotADirectoryError: it is a file.
        ValueError: there is no image in it.
        PermissionError: it, or a folder below, may not be read.
    """
    folder = Path(folder)
    if not folder.exists():
        raise FileNotFoundError(f"there is no folder {str(folder)!r} to look for images in")
    if not folder.is_dir():
        raise NotADirectoryError(f"{str(folder)!r} is a file; give the folder that holds images")
    images: list[Path] = []
    folders, links, seen = [folder], [], set()
    while folders or links:
        here = (folders or links).pop()  # links last: a folder goes by its own name if it can
        status = here.stat()
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(here) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.startswith("."):
                    continue
                path = here / entry.name
                # Of the two only Path takes a link to itself; the entry saves a look at the disk.
                found = path if entry.is_symlink() else entry
                if found.is_dir():
                    (links if entry.is_symlink() else folders).append(path)
                elif path.suffix.lower() in IMAGE_SUFFIXES and found.is_file():
                    images.append(path)
    if not images:
        endings = " ".join(sorted(IMAGE_SUFFIXES))
        raise ValueError(f"no image in {str(folder)!r}: no visible file there ends in {endings}")
    return sorted(images)

"""From what a user writes to the images it names."""

from __future__ import annotations

from pathlib import Path

from dolg_zoo._util.files import user_path
from dolg_zoo.errors import DataError
from dolg_zoo.preprocessing import PassedOver, list_images
from dolg_zoo.preprocessing.files import is_image
from dolg_zoo.preprocessing.lists import LIST_SUFFIXES, read_list
from dolg_zoo.preprocessing.patterns import SHARD_ENDINGS, matches
from dolg_zoo.retrieval.extraction.sources.files import Files
from dolg_zoo.retrieval.extraction.sources.shards import Shards

Source = Files | Shards


def open_source(
    source: str | Path, *, images: str | Path | None = None, anywhere: bool = False
) -> Source:
    """Return the images that a source names; none of them is opened yet.

    Args:
        source: a folder, and those below it; an image; a list, `.csv` or `.parquet`, with a column
            `image` and, if the ids are not to be the paths, `id`; a tar file as WebDataset writes
            it; any number of images or of tar files, by wildcards (`*`, `?`, `[…]`, `**` for
            folders at any depth) or a range (`shard-{000000..000009}.tar`).
        images: the folder that a list's paths are relative to; None for the list's own.
        anywhere: whether a list may name images outside of that folder, by absolute paths, `..`
            or links.

    Raises:
        OSError: if there is no such file or folder, or it cannot be read.
        DataError: if it names no images, or a list is faulty; the message names the line.
        ValueError: if a folder has no image in it.
    """
    path = user_path(source)
    if path.is_dir():
        images_there = list_images(path)
        names = images_there.names
        return Files(path, names, names, passed_over=images_there.passed_over)
    if path.suffix.lower() in LIST_SUFFIXES:
        return Files(*read_list(path, None if images is None else user_path(images), anywhere))
    if images is not None or anywhere:
        raise DataError(f"{str(source)!r} is no list, and its images are where they are.")
    base, found = matches(str(path))
    if not found:
        raise FileNotFoundError(f"there is no file or folder {str(source)!r} to take images from")
    shards = [name for name in found if name.lower().endswith(SHARD_ENDINGS)]
    passed_over = PassedOver()
    # an image that is named by itself is taken whoever made it
    takes = is_image if len(found) == 1 else passed_over.takes
    names = [name for name in found if name not in shards and takes(base / name)]
    if shards and names:
        raise DataError(
            f"{str(source)!r} names both tar files ({shards[0]!r}) and images ({names[0]!r}); name"
            " them one after the other."
        )
    if not shards and not names:
        raise DataError(
            f"{str(source)!r} names neither images, lists (.csv, .parquet) nor tar files; the first"
            f" of {len(found)} is {found[0]!r}."
        )
    if shards:
        return Shards(base, shards)
    return Files(base, names, names, passed_over=passed_over)

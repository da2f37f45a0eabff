"""From what a user writes to the images it names."""

from __future__ import annotations

import glob
import itertools
import re
from pathlib import Path

from dolg_zoo._util.files import user_path
from dolg_zoo.errors import DataError
from dolg_zoo.preprocessing import PassedOver, list_images
from dolg_zoo.preprocessing.files import is_image, is_set_aside
from dolg_zoo.retrieval.extraction.sources.files import Files
from dolg_zoo.retrieval.extraction.sources.lists import LIST_SUFFIXES, read_list
from dolg_zoo.retrieval.extraction.sources.shards import SHARD_ENDINGS, Shards

Source = Files | Shards

MAX_SHARDS = 10**6

_RANGE = re.compile(r"\{([0-9]{1,9})\.\.([0-9]{1,9})\}")


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
        return read_list(path, user_path(images) if images is not None else None, anywhere)
    if images is not None or anywhere:
        raise DataError(f"{str(source)!r} is no list, and its images are where they are.")
    base, found = _matches(str(path))
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


def _matches(pattern: str) -> tuple[Path, list[str]]:
    """Return the folder where wildcards and ranges begin, and the files below it that they name.

    A file that a range names is among them whether it is there or not.
    """
    path = Path(pattern)
    if path.exists():  # whatever letters are in its name
        return path.parent, [path.name]
    plain = itertools.takewhile(
        lambda part: not glob.has_magic(part) and not _RANGE.search(part), path.parts[:-1]
    )
    base = Path(*plain)
    below = str(Path(*path.parts[len(base.parts) :]))
    found: dict[str, None] = {}
    for text in _expanded(below):
        if glob.has_magic(text):
            # Path.glob would find hidden files as well
            names = glob.glob(text, root_dir=base, recursive=True)  # noqa: PTH207
            asked = Path(text).parts
            found.update(
                (name, None)
                for name in sorted(names)
                if not (base / name).is_dir()
                # glob leaves out hidden ones itself
                and not any(is_set_aside(p) and p not in asked for p in Path(name).parts)
            )
        elif (base / text).exists() or text != below:
            found[text] = None
    if not any((base / name).exists() for name in found):
        return base, []
    return base, [Path(name).as_posix() for name in found]


def _expanded(pattern: str) -> list[str]:
    """Return the texts that the ranges in a pattern stand for: {08..10} for 08, 09, 10."""
    texts, numbers = _RANGE.split(pattern)[::3], _RANGE.findall(pattern)
    choices = []
    for first, last in numbers:
        if int(first) > int(last) or int(last) - int(first) >= MAX_SHARDS:
            raise DataError(
                f"The range {{{first}..{last}}} must go upwards, by less than {MAX_SHARDS}."
            )
        width = len(first) if first.startswith("0") or len(first) == len(last) else 0
        choices.append([f"{number:0{width}d}" for number in range(int(first), int(last) + 1)])
    expanded = itertools.islice(itertools.product(*choices), MAX_SHARDS)
    return [
        "".join(itertools.chain(*zip(texts, [*chosen, ""], strict=True))) for chosen in expanded
    ]

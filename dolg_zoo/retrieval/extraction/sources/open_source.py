"""Open the images that a text, a path or a list of paths names."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import MappingProxyType

from dolg_zoo._util.files import user_path
from dolg_zoo.errors import BadImageError, DataError
from dolg_zoo.preprocessing import Crop, ImageSource, PassedOver, list_images
from dolg_zoo.preprocessing.files import Listing, is_image
from dolg_zoo.preprocessing.lists import LIST_SUFFIXES, read_list
from dolg_zoo.preprocessing.patterns import SHARD_ENDINGS, matches
from dolg_zoo.retrieval.extraction.identity import facts_of
from dolg_zoo.retrieval.extraction.sources.shards import Shards

Box = tuple[float, float, float, float]


class Files:
    """Image files, each with an id."""

    faults: Mapping[str, str] = MappingProxyType({})  # none; see `Shards`

    def __init__(
        self,
        folder: Path,
        ids: Sequence[str],
        names: Sequence[str],
        boxes: Sequence[Box | None] | None = None,
        passed_over: PassedOver | None = None,
    ) -> None:
        self.folder = folder
        self.ids = ids  # the same in every run
        # paths, absolute or below the folder; Path objects would take five times the memory
        self.names = names
        self.boxes = boxes  # the region of each image; None: the whole image
        self.passed_over = passed_over or PassedOver()

    def __len__(self) -> int:
        return len(self.ids)

    def missing(self, known: Container[tuple[str, str]]) -> int:
        """Return the number of images that are new or may have changed."""
        return sum((id, self._facts(name)) not in known for id, name in self._pairs())

    def items(
        self, known: Container[tuple[str, str]] = ()
    ) -> Iterator[tuple[str, str, Path | Crop | BadImageError]]:
        """Yield id, facts and path of each image whose id and facts are not known yet."""
        for (id, name), box in zip(self._pairs(), self.boxes or [None] * len(self), strict=True):
            facts = self._facts(name)
            if (id, facts) not in known:
                path = self.folder / name
                yield id, facts, path if box is None else Crop(path, box)

    def lacks(self, id: str) -> bool:
        """Return whether the image with this id is gone; False if the ids are not paths."""
        return self.ids is self.names and not os.path.lexists(self.folder / id)

    def _pairs(self) -> Iterator[tuple[str, str]]:
        return zip(self.ids, self.names, strict=True)

    def _facts(self, name: str) -> str:
        return facts_of(os.path.join(self.folder, name))  # noqa: PTH118 - faster than Path


Source = Files | Shards


def open_source(
    source: str | Path | Iterable[str | Path],
    *,
    images: str | Path | None = None,
    anywhere: bool = False,
) -> Source:
    """Return the images that a source names; no image is opened yet.

    Args:
        source: a folder with its subfolders; an image; a list, `.csv` or `.parquet`, with a column
            `image` and an optional column `id` (without it, the paths are the ids); a WebDataset
            tar file; images or tar files by wildcards (`*`, `?`, `[…]`, `**` for folders at any
            depth) or by a range (`shard-{000000..000009}.tar`); or paths of images.
        images: the folder that a list's paths are relative to; None for the folder of the list.
        anywhere: whether a list may name images outside of that folder, by absolute paths, `..`
            or links.

    Raises:
        OSError: if there is no such file or folder, or it cannot be read.
        DataError: if it names no images, or a list is invalid; the message names the line.
        ValueError: if a folder has no image in it.
    """
    if not isinstance(source, str | os.PathLike):
        return _files(list_images(source))
    path = user_path(source)
    if path.suffix.lower() in LIST_SUFFIXES and not path.is_dir():
        return Files(*read_list(path, None if images is None else user_path(images), anywhere))
    if images is not None or anywhere:
        raise DataError(f"{str(source)!r} is no list: leave out `images` and `anywhere`.")
    base, names = matches(str(path))
    shards = [name for name in names if name.lower().endswith(SHARD_ENDINGS)]
    if shards and not path.is_dir():
        image_names = [name for name in names if name not in shards and is_image(base / name)]
        if not image_names:
            return Shards(base, shards)
        raise DataError(
            f"{str(source)!r} names both tar files ({shards[0]!r}) and images ({image_names[0]!r});"
            " give the two in separate calls."
        )
    return _files(list_images(path))


def _files(listed: Listing) -> Files:
    names = listed.names
    return Files(listed.folder, names, names, passed_over=listed.passed_over)


def first_images(source: Source, count: int) -> list[ImageSource]:
    """Return the first readable images of a source, at most `count`."""
    contents = (content for _, _, content in source.items(()))
    return list(islice((c for c in contents if not isinstance(c, BadImageError)), count))

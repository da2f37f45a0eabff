"""Images that are files of their own."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from dolg_zoo.errors import BadImageError


class Files:
    """Image files by name.

    Attributes:
        folder: the folder that the names are relative to.
        ids: ids of the images; the same from run to run.
        names: the path of each id, absolute or below the folder.
        faults: none; see `Shards`.
    """

    def __init__(self, folder: Path, ids: Sequence[str], names: Sequence[str]) -> None:
        self.folder = folder
        self.ids = ids
        self.names = names  # a Path takes five times the memory of its name
        self.faults: Mapping[str, str] = MappingProxyType({})

    def __len__(self) -> int:
        return len(self.ids)

    def missing(self, known: Container[str]) -> int:
        """How many images are not known yet."""
        return sum(name not in known for name in self.ids)

    def items(self, known: Container[str] = ()) -> Iterator[tuple[str, Path | BadImageError]]:
        """Yield the id and the path of each image that is not known yet."""
        for image, name in zip(self.ids, self.names, strict=True):
            if image not in known:
                yield image, self.folder / name

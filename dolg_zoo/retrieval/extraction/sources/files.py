"""Image files, each under an id."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from dolg_zoo.errors import BadImageError
from dolg_zoo.preprocessing import Crop, PassedOver
from dolg_zoo.retrieval.extraction.identity import facts_of

Box = tuple[float, float, float, float]


class Files:
    """Image files by name.

    Attributes:
        folder: the folder that the names are relative to.
        ids: ids of the images; the same from run to run.
        names: the path of each id, absolute or below the folder.
        boxes: the part of each that is meant; None for all of all.
        passed_over: the files of the folder that are no images, and what of it cannot be read.
        faults: none; see `Shards`.
    """

    def __init__(
        self,
        folder: Path,
        ids: Sequence[str],
        names: Sequence[str],
        boxes: Sequence[Box | None] | None = None,
        passed_over: PassedOver | None = None,
    ) -> None:
        self.folder = folder
        self.ids = ids
        self.names = names  # a Path takes five times the memory of its name
        self.boxes = boxes
        self.passed_over = passed_over or PassedOver()
        self.faults: Mapping[str, str] = MappingProxyType({})

    def __len__(self) -> int:
        return len(self.ids)

    def missing(self, known: Container[tuple[str, str]]) -> int:
        """How many images are not known yet, or may have changed."""
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
        """Return whether the image of this id is gone; False if the ids are no paths."""
        return self.ids is self.names and not os.path.lexists(self.folder / id)

    def _pairs(self) -> Iterator[tuple[str, str]]:
        return zip(self.ids, self.names, strict=True)

    def _facts(self, name: str) -> str:
        return facts_of(os.path.join(self.folder, name))  # noqa: PTH118 - as quick as it can be

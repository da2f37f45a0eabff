"""The images without a descriptor, and their embedding in this process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dolg_zoo.errors import BadImageError
from dolg_zoo.preprocessing import Crop
from dolg_zoo.retrieval.extraction.identity import Identity, Known, identity_of
from dolg_zoo.retrieval.extraction.sources import Source
from dolg_zoo.retrieval.extraction.store import fault_in_id

if TYPE_CHECKING:
    from dolg_zoo.embedders.base import ImageEmbedder


@dataclass(frozen=True)
class Twin:
    """The image of the same content whose descriptor an image takes."""

    id: str


Item = tuple[str, Path | Crop | bytes | Twin | BadImageError, Identity | None]
Result = tuple[str, np.ndarray | Twin | BadImageError, Identity | None]


class Pending:
    """The new, changed or unrecognised images of a source: id, image and record of each."""

    # A `Twin` replaces an image whose content has a descriptor already; an error replaces one that
    # cannot be embedded. After the iteration, `faults` are the source's and `gone` the missing ids.

    def __init__(self, source: Source, known: Known) -> None:
        self._source = source
        self._known = known
        self.faults: dict[str, str] = {}
        self.gone: list[str] = []

    def __iter__(self) -> Iterator[Item]:
        seen: set[str] = set()
        for image, facts, content in self._source.items(self._known):
            if image in seen:
                content = BadImageError(image, "another image of this name came before it")
            elif fault := fault_in_id(image):
                content = BadImageError(image, f"its name {fault}")
            if isinstance(content, BadImageError):
                yield image, content, None
                continue
            seen.add(image)
            try:
                identity = identity_of(content, facts)
            except OSError:  # decoding it will say why, in words
                yield image, content, None
                continue
            twin = self._known.twin(image, identity)
            yield image, content if twin is None else Twin(twin), identity
        self.faults = dict(self._source.faults)
        self.gone = [id for id in self._known.unseen if self._source.lacks(id)]


def embed_here(
    model: ImageEmbedder,
    items: Iterable[Item],
    *,
    batch_size: int,
    scales: Sequence[float] | None,
    runtime: str | None = None,
) -> Iterator[Result]:
    """Embed items here; yield (id, descriptor or error or `Twin`, record), nearly in order."""
    waiting: dict[int, tuple[str, Identity | None]] = {}
    others: list[Result] = []

    def images() -> Iterator[Path | Crop | bytes]:
        turn = 0
        for image, content, identity in items:
            if isinstance(content, BadImageError | Twin):
                others.append((image, content, identity))
            else:
                waiting[turn] = image, identity
                turn += 1
                yield content

    found = model.embed_each(images(), batch_size=batch_size, scales=scales, runtime=runtime)
    for turn, result in found:
        yield from others
        others.clear()
        image, identity = waiting.pop(turn)
        yield image, result, identity
    yield from others

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
    """A reference to an image with the same content, whose descriptor is reused."""

    id: str


Item = tuple[str, Path | Crop | bytes | Twin | BadImageError, Identity | None]
Result = tuple[str, np.ndarray | Twin | BadImageError, Identity | None]


class Pending:
    """The new and changed images of a source; iterate for the id, image and record of each."""

    # A `Twin` stands for an image whose content has a descriptor already, an error for an image
    # that cannot be embedded. `faults` and `gone` (missing ids) are set after the iteration.

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
            except OSError:  # the decoder reports the reason
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
    """Embed in this process; yield (id, descriptor, error or `Twin`, record), nearly in order."""
    waiting: dict[int, tuple[str, Identity | None]] = {}
    not_embedded: list[Result] = []

    def images() -> Iterator[Path | Crop | bytes]:
        number = 0
        for image, content, identity in items:
            if isinstance(content, BadImageError | Twin):
                not_embedded.append((image, content, identity))
            else:
                waiting[number] = image, identity
                number += 1
                yield content

    results = model.embed_each(images(), batch_size=batch_size, scales=scales, runtime=runtime)
    for number, result in results:
        yield from not_embedded
        not_embedded.clear()
        image, identity = waiting.pop(number)
        yield image, result, identity
    yield from not_embedded

"""What is to be embedded yet, and the embedding of it in this process."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dolg_zoo.errors import BadImageError
from dolg_zoo.retrieval.extraction.sources import Source
from dolg_zoo.retrieval.extraction.store import fault_in_id

if TYPE_CHECKING:
    from dolg_zoo.embedders.base import ImageEmbedder

Item = tuple[str, Path | bytes | BadImageError]
Result = tuple[str, np.ndarray | BadImageError]


class Pending:
    """The new images of a source, each with its id, or an error for one that cannot be embedded.

    Attributes:
        faults: those of the source, once all is iterated.
    """

    def __init__(self, source: Source, known: Container[str]) -> None:
        self._source = source
        self._known = known
        self.faults: dict[str, str] = {}

    def __iter__(self) -> Iterator[Item]:
        seen: set[str] = set()
        for image, content in self._source.items(self._known):
            if image in seen:
                content = BadImageError(image, "another image of this name came before it")
            elif fault := fault_in_id(image):
                content = BadImageError(image, f"its name {fault}")
            elif not isinstance(content, BadImageError):
                seen.add(image)
            yield image, content
        self.faults = dict(self._source.faults)


def embed_here(
    model: ImageEmbedder,
    items: Iterable[Item],
    *,
    batch_size: int,
    scales: Sequence[float] | None,
    runtime: str | None = None,
) -> Iterator[Result]:
    """Embeds items in this process, in about their order.

    Yields:
        (id, descriptor) or (id, error), one for each item.
    """
    ids: dict[int, str] = {}
    errors: list[Result] = []

    def images() -> Iterator[Path | bytes]:
        turn = 0
        for image, content in items:
            if isinstance(content, BadImageError):
                errors.append((image, content))
            else:
                ids[turn] = image
                turn += 1
                yield content

    found = model.embed_each(images(), batch_size=batch_size, scales=scales, runtime=runtime)
    for turn, result in found:
        while errors:
            yield errors.pop(0)
        yield ids.pop(turn), result
    yield from errors

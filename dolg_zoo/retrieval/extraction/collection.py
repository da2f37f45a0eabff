"""Descriptors of named images; memory holds one part at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from dolg_zoo.retrieval.extraction.store import DescriptorStore


@dataclass(frozen=True)
class Collection:
    """Descriptors, and the names of their images."""

    names: list[str]
    dim: int  # dimension of a descriptor
    parts: Callable[[], Iterator[np.ndarray]]  # yields (rows, dim) float32, in the order of `names`
    identities: list[str] = field(default_factory=list)  # records of the images, as texts
    skipped: dict[str, str] = field(default_factory=dict)  # name to reason: no descriptor
    reused: int = 0  # number of descriptors from the cache

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def of_store(cls, store: DescriptorStore) -> Collection:
        """Return the descriptors of a store; the names are its ids."""
        return cls(store.ids(), store.dim, lambda: (rows for _, rows in store.parts()))

    def only(self, keep: np.ndarray) -> Collection:
        """Return the images for which `keep`, (images,) bool, is true."""

        def parts() -> Iterator[np.ndarray]:
            start = 0
            for rows in self.parts():
                yield rows[keep[start : start + len(rows)]]
                start += len(rows)

        names = [name for name, is_kept in zip(self.names, keep, strict=True) if is_kept]
        return Collection(names, self.dim, parts)

    def read(self, *more: Collection) -> np.ndarray:
        """Return the descriptors of this and more collections: (images, dim) float32."""
        collections = (self, *more)
        descriptors = np.empty((sum(map(len, collections)), self.dim), np.float32)
        start = 0
        for rows in chain.from_iterable(collection.parts() for collection in collections):
            descriptors[start : start + len(rows)] = rows
            start += len(rows)
        return descriptors

    def in_order(self, names: Sequence[str]) -> np.ndarray:
        """Return the descriptors (images, dim) in another order of the names."""
        row_of = {name: row for row, name in enumerate(names)}
        descriptors = np.empty((len(names), self.dim), np.float32)
        start = 0
        for rows in self.parts():
            part = self.names[start : start + len(rows)]
            descriptors[[row_of[name] for name in part]] = rows
            start += len(rows)
        return descriptors

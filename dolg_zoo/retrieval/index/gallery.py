"""A gallery: named descriptors that can be searched without a model."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from dolg_zoo._util.arguments import number, one_of, whole_number
from dolg_zoo._util.cosines import cosine, reaches
from dolg_zoo._util.files import user_path
from dolg_zoo.retrieval.duplicate_files import RULES, keeper
from dolg_zoo.retrieval.extraction.identity import Changes, Identity, check_gone
from dolg_zoo.retrieval.index.contents import check_names, checked_metadata
from dolg_zoo.retrieval.matches import Match, Matches
from dolg_zoo.retrieval.search.approximate import Approximate, kind_for
from dolg_zoo.retrieval.search.duplicates import duplicates
from dolg_zoo.retrieval.search.exact import Exact
from dolg_zoo.retrieval.search.ranking import Ranking, augment_database, ranked
from dolg_zoo.retrieval.unit_rows import first_not_unit, unit


class Gallery:
    """The part of an `Index` that needs no model: descriptors, searched by cosine similarity."""

    def __init__(
        self,
        names: Sequence[str],
        descriptors: np.ndarray,
        folder: str | Path,
        metadata: Sequence[Mapping[str, Any] | None] | None,
        kind: str,
        recall: float,
        maker: str,
        identities: Sequence[str] | None = None,
    ) -> None:
        names, descriptors = list(names), np.ascontiguousarray(descriptors, np.float32)
        if descriptors.ndim != 2 or len(names) != len(descriptors):
            raise ValueError(f"There must be a descriptor for each of {len(names)} names.")
        check_names(names)
        if (row := first_not_unit(descriptors)) is not None:
            raise ValueError(
                f"{maker!r} gives descriptors that are not finite or whose norm is not 1, first for"
                f" {names[row]!r}. Check its weights and its dtype."
            )
        recall = number("recall", recall, 0, 1)
        self.names: list[str] = names
        self.metadata: list[dict[str, Any]] = checked_metadata(
            [None] * len(names) if metadata is None else metadata, len(names)
        )
        self.identities: list[str] = [*identities] if identities else [""] * len(names)
        self.folder: Path = user_path(folder)
        kind = kind_for(len(names), kind)
        self._nearest = self._search_in(descriptors, kind, recall)
        self._augmented: tuple[tuple[int, float], Exact | Approximate] | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def descriptors(self) -> np.ndarray:
        """(images, dim), float32, L2-normalised, in the order of `names`."""
        return self._nearest.descriptors

    def __repr__(self) -> str:
        count, dim = self.descriptors.shape
        return (
            f"<{type(self).__name__} of {count:,} images in {str(self.folder)!r}: {dim} dimensions,"
            f" {self.kind} search>"
        )

    @property
    def kind(self) -> str:
        """The kind of search: "exact", "hnsw" or "ivfpq"."""
        return self._nearest.kind

    @property
    def recall(self) -> float:
        """The measured recall at 10; 1 for an exact index."""
        return cast(float, self._nearest.recall)  # measured when the index was built

    @property
    def asked_recall(self) -> float:
        """The recall at 10 that was asked for; 1 for an exact index."""
        return getattr(self._nearest, "asked", 1.0)

    def remove(self, names: Collection[str]) -> None:
        """Remove images from the index; their files stay.

        Raises:
            ValueError: if a name is unknown; the index is unchanged then.
        """
        gone = {names} if isinstance(names, str) else set(names)
        if unknown := gone - set(self.names):
            raise ValueError(f"There is no image {min(unknown)!r} in the index.")
        self._change(gone, [], np.empty((0, self.descriptors.shape[1]), np.float32), [], [])

    def update(self, fresh: Gallery, *, remove_missing: bool = False) -> Changes:
        """Take over the images and descriptors of another gallery, but keep the metadata.

        Metadata follows a renamed image, and stays with a changed image of the same name. Images
        that are equal in both galleries are not touched, so an approximate index is not built
        again.

        Args:
            fresh: the gallery with the images that exist now.
            remove_missing: whether to remove missing images even if their link is broken, their
                folder cannot be read or is empty, or they are more than half of all.

        Raises:
            ImagesAwayError: if missing images may come back; the gallery is unchanged then.
            ValueError: if the descriptors have another dimension.
        """
        if fresh.descriptors.shape[1] != self.descriptors.shape[1]:
            raise ValueError(
                f"Descriptors of {fresh.descriptors.shape[1]} dimensions cannot join descriptors of"
                f" {self.descriptors.shape[1]} dimensions."
            )
        row_of = {name: row for row, name in enumerate(self.names)}
        old, new = self._contents(), fresh._contents()
        gone = row_of.keys() - set(fresh.names)
        find_twin, new_contents = self._twin_finder(old, gone), set(new)
        rows, metadata = [], []
        changed, added = 0, list[str]()
        for row, (name, content) in enumerate(zip(fresh.names, new, strict=True)):
            old_row, descriptor = row_of.get(name), fresh.descriptors[row]
            if old_row is not None and (
                old[old_row] == content
                or (
                    _UNRECORDED in old[old_row] + content
                    and np.allclose(self.descriptors[old_row], descriptor, atol=1e-6)
                )
            ):
                self.identities[old_row] = fresh.identities[row]
                continue
            twin = find_twin(name, content, descriptor)
            if old_row is not None:
                changed += 1
                if twin is None and old[old_row] not in new_contents:
                    twin = old_row
            elif twin is not None:
                added.append(old[twin])
            rows.append(row)
            metadata.append({} if twin is None else dict(self.metadata[twin]))
        moved = Changes.renamed({name: old[row_of[name]] for name in gone}, added)
        missing = gone - moved
        check_gone(missing, len(self), fresh.folder, remove_missing)
        unchanged = len(self) - changed - len(missing)
        if rows or gone:
            names = [fresh.names[row] for row in rows]
            identities = [fresh.identities[row] for row in rows]
            self._change(gone | set(names), names, fresh.descriptors[rows], metadata, identities)
        return Changes(len(rows) - changed - len(moved), changed, len(missing), unchanged)

    def _twin_finder(
        self, contents: Sequence[str], gone: Container[str]
    ) -> Callable[[str, str, np.ndarray], int | None]:
        """Return a function that finds the old row with the same content, or None."""
        # Among copies it prefers the same file name in another folder, then a missing image.
        rows = sorted(range(len(self)), key=lambda row: self.names[row] in gone)
        by_content = {contents[row]: row for row in rows}
        by_both = {(contents[row], posixpath.basename(self.names[row])): row for row in rows}

        def twin_of(name: str, content: str, descriptor: np.ndarray) -> int | None:
            twin = by_both.get((content, posixpath.basename(name)), by_content.get(content))
            return by_content.get(_hash_of(descriptor)) if twin is None else twin

        return twin_of

    def _contents(self) -> list[str]:
        """Return a hash of each image's content, or of its descriptor if it has no record."""
        digests = (Identity.parse(text).digest for text in self.identities)
        return [digest or _hash_of(self.descriptors[row]) for row, digest in enumerate(digests)]

    def _change(
        self,
        gone: set[str],
        names: list[str],
        new: np.ndarray,
        metadata: list[dict[str, Any]],
        identities: list[str],
    ) -> None:
        kept = np.array([i for i, name in enumerate(self.names) if name not in gone], np.int64)
        descriptors = np.empty((len(kept) + len(new), new.shape[1]), np.float32)
        np.take(self.descriptors, kept, axis=0, out=descriptors[: len(kept)])
        descriptors[len(kept) :] = new
        self._nearest = self._nearest.changed(kept, descriptors)
        self._augmented = None
        self.names = [self.names[row] for row in kept] + names
        self.metadata = [self.metadata[row] for row in kept] + metadata
        self.identities = [self.identities[row] for row in kept] + identities

    def search_descriptors(
        self, descriptors: np.ndarray, k: int = 10, ranking: Ranking | None = None
    ) -> list[Matches]:
        """Search for the images most similar to each descriptor, best first.

        Args:
            descriptors: (queries, dim), finite and not zero; any norm.
            k: number of results per query; fewer if the index has fewer images.
            ranking: query expansion and re-ranking; None for neither.

        Raises:
            ValueError: if the shape is wrong, a descriptor is zero or not finite, or k is not
                a whole number of at least 1.
        """
        queries = unit(descriptors, self.descriptors.shape[1])
        k = whole_number("k", k, 1)
        if not len(self):
            return [Matches() for _ in queries]
        ranking = ranking or Ranking()
        nearest = self._augmented_by(ranking.dba, ranking.alpha) if ranking.dba else self._nearest
        scores, indices = ranked(queries, nearest.search, nearest.descriptors, k, ranking)
        return [
            Matches(self._match(row, score) for row, score in zip(*result, strict=True) if row >= 0)
            for result in zip(indices, scores, strict=True)
        ]

    def _augmented_by(self, n: int, alpha: float) -> Exact | Approximate:
        """Return the search after database-side augmentation; cache the last one."""
        if self._augmented is None or self._augmented[0] != (n, alpha):
            self._augmented = (n, alpha), self._augmented_search(n, alpha)
        return self._augmented[1]

    def _augmented_search(self, n: int, alpha: float) -> Exact | Approximate:
        rows = augment_database(self.descriptors, self._nearest.search, n, alpha)
        return self._search_in(rows, self.kind, self.asked_recall)

    @staticmethod
    def _search_in(rows: np.ndarray, kind: str, recall: float) -> Exact | Approximate:
        return Exact(rows) if kind == "exact" else Approximate.build(kind, rows, recall)

    def within_descriptors(self, descriptors: np.ndarray, threshold: float) -> list[Matches]:
        """Return for each descriptor all images with at least this cosine similarity, best first.

        The search is exact for every kind of index.

        Raises:
            ValueError: if the shape is wrong, a descriptor is zero or not finite, or the
                threshold is not a number from -1 to 1.
        """
        number("threshold", threshold, -1, 1)
        queries = unit(descriptors, self.descriptors.shape[1])
        scores, query_rows, indices = self._nearest.within(queries, threshold)
        matches = [Matches() for _ in queries]
        for pair in np.argsort(-scores, kind="stable"):
            matches[query_rows[pair]].append(self._match(indices[pair], scores[pair]))
        return matches

    def duplicates(self, threshold: float = 0.95, keep: str = "first") -> list[list[Match]]:
        """Group near-duplicate images.

        In a group, the cosine similarity of each image to the image to keep is at least the
        threshold. An exact index compares every pair. An approximate index compares each image
        with its nearest neighbours and can miss pairs, as its `recall` states.

        Args:
            threshold: the minimum cosine similarity.
            keep: the image to keep, which comes first in its group: the "largest", the "oldest" or
                the "first" in the order of `names`.

        Returns:
            Groups of two or more images: the image to keep, then the others in the order of
            `names`. The score is the cosine similarity to the image to keep.

        Raises:
            ValueError: if the threshold is not a number from -1 to 1, or keep is not one of the
                three.
        """
        number("threshold", threshold, -1, 1)
        one_of("keep", keep, RULES)
        groups, ranks = [], dict[Path, tuple[float, ...]]()
        for rows in duplicates(self._nearest, threshold):
            while len(rows) > 1:  # a chain of pairs may need several images to keep
                best = keeper([self._match(row, 1) for row in rows], keep, ranks)
                scores = self.descriptors[rows] @ self.descriptors[rows[best]]
                near = reaches(scores, threshold) & (np.arange(len(rows)) != best)
                if near.any():
                    first = self._match(rows[best], scores[best])
                    others = zip(rows[near], scores[near], strict=True)
                    groups.append([first, *(self._match(*pair) for pair in others)])
                near[best] = True
                rows = rows[~near]
        return groups

    def _match(self, row: int, score: float) -> Match:
        name = self.names[row]
        return Match(name, self.folder / name, cosine(score), self.metadata[row])


_UNRECORDED = "descriptor "


def _hash_of(descriptor: np.ndarray) -> str:
    return _UNRECORDED + hashlib.blake2b(descriptor.tobytes(), digest_size=16).hexdigest()

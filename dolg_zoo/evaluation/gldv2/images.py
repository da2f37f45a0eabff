"""Images of Google Landmarks v2: files, or descriptors in a store."""

from __future__ import annotations

from collections.abc import Collection as Container
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from dolg_zoo import __version__
from dolg_zoo._util.files import user_path
from dolg_zoo._util.hashing import sha256_of
from dolg_zoo.errors import StoreError
from dolg_zoo.evaluation.collection import Collection, embedded, open_descriptors
from dolg_zoo.evaluation.gldv2.lists import IMAGE_ID
from dolg_zoo.evaluation.image_files import some
from dolg_zoo.evaluation.report import settings_of_model, settings_of_store
from dolg_zoo.preprocessing import list_images
from dolg_zoo.retrieval import DescriptorStore

if TYPE_CHECKING:
    from dolg_zoo.embedders.base import ImageEmbedder


@dataclass(frozen=True)
class Images:
    """Images of Google Landmarks v2 by their ids: files, or descriptors in a store."""

    folder: Path  # of the files or of the store
    paths: Mapping[str, Path] | None  # id to file; None for a store
    wanted: Container[str] | None = None  # the ids to use; None for all

    @classmethod
    def find(cls, folder: str | Path, needed: Container[str], only_these: bool) -> Images:
        """Find images in a folder, flat or as a/b/c/abc….jpg, or open a store there."""
        # A FileNotFoundError names up to five missing images of `needed`. `only_these` ignores
        # others.
        folder, wanted = user_path(folder), needed if only_these else None
        if (folder / "store.json").is_file():
            return cls(folder, None, wanted)
        found = {path.stem: path for path in list_images(folder) if IMAGE_ID.fullmatch(path.stem)}
        missing = sorted(set(needed) - found.keys())
        if missing:
            raise FileNotFoundError(
                f"{len(missing)} of {len(needed)} images are not in {str(folder)!r}:"
                f" {some(missing)}."
            )
        paths = {name: path for name, path in found.items() if wanted is None or name in wanted}
        return cls(folder, paths, wanted)

    def described(
        self, model: ImageEmbedder | None, scales: Sequence[float] | None, progress: bool
    ) -> tuple[Collection, dict[str, str], DescriptorStore | None]:
        """Return the descriptors by id, the failed images, and the store of the descriptors."""
        if self.paths is not None:
            assert model is not None  # `needs_model` says so
            return *embedded(model, self.paths, self.folder, scales, progress), None
        store = open_descriptors(self.folder, model, scales)
        collection = Collection.of_store(store)
        ids = [PurePosixPath(name).stem for name in collection.names]
        collection = Collection(ids, collection.dim, collection.parts)
        keep = np.array([self.wanted is None or name in self.wanted for name in ids], bool)
        if not keep.any():
            raise StoreError(
                f"None of the {len(ids)} descriptors in {str(self.folder)!r} is of an image that is"
                f" wanted; the first is of {ids[0] if ids else None!r}."
            )
        return collection.only(keep), {}, store


@dataclass(frozen=True)
class Compared:
    """Two sets of descriptors from one model."""

    gallery: Collection
    queries: Collection
    settings: Mapping[str, Any]  # of the model or the store
    skipped: Mapping[str, str]  # id to reason, for images that could not be embedded

    @classmethod
    def of(
        cls,
        gallery: Images,
        queries: Images,
        model: ImageEmbedder | None,
        scales: Sequence[float] | None,
        progress: bool,
    ) -> Compared:
        """Return both sets; raise StoreError unless stores and model agree in model and scales."""
        # a ValueError says that there are files to embed, and no model
        if model is None and needs_model(gallery, queries):
            raise ValueError("There are images to embed; give a model.")
        rows, skipped, store = gallery.described(model, scales, progress)
        query_rows, skipped_queries, query_store = queries.described(model, scales, progress)
        if store is not None and query_store is not None:
            wanted = replace(store.settings, dtype=query_store.dtype)
            query_store.settings.check_same(wanted, query_store.folder)
        if model is not None:
            made = settings_of_model(model, scales)
        else:
            assert store is not None  # without a model both are stores
            made = settings_of_store(store)
        return cls(rows, query_rows, made, skipped | skipped_queries)


def needs_model(*images: Images) -> bool:
    """Return whether there are files to embed, not only stores."""
    return any(found.paths is not None for found in images)


def queries_of(solution: Mapping[str, Mapping[str, Container[Any]]]) -> set[str]:
    """Return the queries of all subsets."""
    return {query for subset in solution.values() for query in subset}


def missing(queries: set[str], found: Collection) -> list[str]:
    """Return a note of the queries that have no descriptor, if there are any."""
    lacking = sorted(queries - set(found.names))
    return [f"{len(lacking)} queries have no descriptor: {some(lacking)}."] if lacking else []


def settings_of_files(solution: str | Path, predictions: str | Path) -> dict[str, str]:
    """Return the settings that a score of predictions depends on."""
    return {
        "predictions_sha256": sha256_of(user_path(predictions)),
        "solution_sha256": sha256_of(user_path(solution)),
        "dolg_zoo_version": __version__,
    }

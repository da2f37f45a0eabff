"""An index: the descriptors of many images and the model that embeds the queries."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dolg_zoo._util.arguments import number, whole_number
from dolg_zoo._util.files import is_special, user_path
from dolg_zoo.embedders.fingerprint import name_of_model
from dolg_zoo.errors import BadImageError
from dolg_zoo.preprocessing import PassedOver, list_images
from dolg_zoo.preprocessing.decode import in_memory
from dolg_zoo.preprocessing.files import Listing
from dolg_zoo.preprocessing.sources import image_sources
from dolg_zoo.retrieval.extraction.descriptor_cache import describe_files
from dolg_zoo.retrieval.extraction.identity import Changes, text_of
from dolg_zoo.retrieval.extraction.store import DescriptorStore
from dolg_zoo.retrieval.index.contents import (
    check_names,
    checked_metadata,
    read_contents,
    write_contents,
)
from dolg_zoo.retrieval.index.file import read_file, write_file
from dolg_zoo.retrieval.index.gallery import Gallery
from dolg_zoo.retrieval.matches import Matches
from dolg_zoo.retrieval.search.approximate import kind_for
from dolg_zoo.retrieval.search.ranking import Ranking
from dolg_zoo.retrieval.unit_rows import unit

_log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from dolg_zoo.embedders.base import ImageEmbedder
    from dolg_zoo.preprocessing import ImageSource


class Index(Gallery):
    """The descriptors of images, searched by cosine similarity.

    ```python
    index = Index.build(model, "photos/")
    index.search("query.jpg", k=10)
    index.save("photos.index")
    ```

    Attributes:
        model: the model that embeds images and queries.
        names: paths of the images below the folder, with `/` between the parts; no duplicates.
        descriptors: (images, dim), float32, L2-normalised, in the order of `names`; memory-mapped
            if the index was loaded from a folder.
        metadata: a dictionary of JSON values for each image; you may change it.
        folder: the folder of the images.
        scales: the scales at which images are embedded: see `DOLG.embed`.
        skipped: names of the images that could not be read, each with the reason.
        model_id: a hash of the weights and settings of the model.
        reused: number of descriptors that came from the cache.
        passed_over: for an index built from a folder, the files that are not images and the
            folders that cannot be read.
        path: the path that the index was loaded from; None if it was built.

    Args:
        kind: "exact"; "hnsw" or "ivfpq", which are approximate and faster; "auto" chooses by the
            number of images.
        recall: the recall at 10 that an approximate index should reach, from 0 to 1. It is
            measured on the descriptors of the index and sets the search effort.

    Raises:
        ValueError: if a descriptor is not finite or not normalised, a name is there twice or leads
            out of the folder, or an argument is out of range.
    """

    def __init__(
        self,
        model: ImageEmbedder,
        names: Sequence[str],
        descriptors: np.ndarray,
        *,
        folder: str | Path = ".",
        scales: Sequence[float] | None = None,
        skipped: Mapping[str, str] | None = None,
        reused: int = 0,
        metadata: Sequence[Mapping[str, Any] | None] | None = None,
        kind: str = "exact",
        recall: float = 0.95,
        identities: Sequence[str] | None = None,
        passed_over: PassedOver | None = None,
    ) -> None:
        maker = name_of_model(model)
        super().__init__(names, descriptors, folder, metadata, kind, recall, maker, identities)
        self.model = model
        self.passed_over = passed_over or PassedOver()
        self.path: Path | None = None
        self.scales = model.image_converter.scales_or_own(scales)
        self.skipped = dict(skipped or {})
        self.model_id = model.model_id
        self.reused = reused

    @classmethod
    def build(
        cls,
        model: ImageEmbedder,
        folder: str | Path | Iterable[str | Path],
        *,
        batch_size: int = 16,
        scales: Sequence[float] | None = None,
        progress: bool = True,
        cache: bool = False,
        kind: str = "auto",
        recall: float = 0.95,
    ) -> Index:
        """Embed the images of a folder and the folders below it.

        Args:
            model: the model to embed with.
            folder: the folder of the images; or a list, wildcards, or paths of images, as
                `list_images` takes them.
            batch_size: images per batch.
            scales: multiples of the image size, for images and queries; None for the preset's
                scales.
            progress: whether to show a progress bar on a terminal if it takes long.
            cache: whether to cache descriptors in the user's cache folder and to reuse them for
                unchanged images. An interrupted job then loses the last minute at most.
            kind: see `Index`.
            recall: see `Index`.

        Raises:
            OSError: if the folder does not exist or cannot be listed.
            ValueError: if the folder has no image that can be read, or the model gives descriptors
                that are not finite.
        """
        kind_for(0, kind)  # a wrong kind fails before the long work
        listed = _listed(folder)
        images = dict(zip(listed.names, listed, strict=True))
        collection = describe_files(
            model,
            images,
            listed.folder,
            scales=scales,
            batch_size=batch_size,
            progress=progress,
            cache=cache,
        )
        identity_of = dict(zip(collection.names, collection.identities, strict=True))
        names = [name for name in images if name in identity_of]
        return cls(
            model,
            names,
            collection.in_order(names),
            folder=listed.folder,
            scales=scales,
            skipped=collection.skipped,
            reused=collection.reused,
            kind=kind,
            recall=recall,
            identities=[identity_of[name] for name in names],
            passed_over=listed.passed_over,
        )

    @classmethod
    def from_store(
        cls,
        store: str | Path | DescriptorStore,
        model: ImageEmbedder,
        folder: str | Path = ".",
        *,
        kind: str = "auto",
        recall: float = 0.95,
    ) -> Index:
        """Make an index from a descriptor store.

        Args:
            store: the store, or its folder.
            model: the model that made the descriptors.
            folder: the folder of the images.
            kind: the kind of search; see `Index`.
            recall: the recall of an approximate search; see `Index`.

        Raises:
            OSError: if there is no store.
            ValueError: if the store is damaged or was made with another model.
        """
        if not isinstance(store, DescriptorStore):
            store = DescriptorStore.open(store)
        _check_model(store.folder, store.model_id, store.model_name, store.dim, model)
        names, descriptors = store.read()
        identities = store.identities()
        for start in range(0, len(names), 65536):  # a float16 norm is exact to three digits only
            rows = descriptors[start : start + 65536]
            rows[...] = unit(rows, store.dim)
        return cls(
            model,
            names,
            descriptors,
            folder=folder,
            scales=store.scales,
            kind=kind,
            recall=recall,
            identities=[str(identities[name]) for name in names],
        )

    def add(
        self,
        names: Iterable[str],
        descriptors: np.ndarray | None = None,
        metadata: Sequence[Mapping[str, Any] | None] | None = None,
    ) -> None:
        """Add images. An image with a known name is replaced and keeps its metadata.

        Add many images in one call: each call copies all descriptors and measures the recall of an
        approximate index again.

        Args:
            names: paths of the images below `folder`.
            descriptors: (images, dim), finite and not zero. None: the images are embedded, and
                unreadable images are added to `skipped`.
            metadata: a dictionary or None for each image.

        Raises:
            ValueError: if the arguments differ in length or are invalid; the index is unchanged
                then.
        """
        names = [str(names)] if isinstance(names, str | Path) else list(names)
        check_names(names)
        if metadata is not None:
            metadata = checked_metadata(metadata, len(names))
        if not names:
            return
        identities = [""] * len(names)
        if descriptors is None:
            names, descriptors, metadata, identities = self._embedded(names, metadata)
            if not names:
                return
        new = unit(descriptors, self.descriptors.shape[1])
        if len(new) != len(names):
            raise ValueError(f"There are {len(new)} descriptors for {len(names)} names.")
        old_metadata = dict(zip(self.names, self.metadata, strict=True))
        entries = (
            [old_metadata.get(name, {}) for name in names] if metadata is None else list(metadata)
        )
        self._change(set(names), names, new, [dict(entry or {}) for entry in entries], identities)
        for name in names:
            self.skipped.pop(name, None)

    def update(self, fresh: Gallery, *, remove_missing: bool = False) -> Changes:
        """See `Gallery.update`; raises ValueError also for another model or other scales."""
        if not isinstance(fresh, Index):
            raise TypeError(f"An Index can take over an Index only, not {type(fresh).__name__}.")
        _check_model(
            fresh.folder,
            fresh.model_id,
            name_of_model(fresh.model),
            fresh.descriptors.shape[1],
            self.model,
        )
        if fresh.scales != self.scales:
            raise ValueError(
                f"Images embedded at the scales {fresh.scales} cannot join images at {self.scales}."
            )
        if self.path and "" in self.identities:
            _log.warning(
                "The index %r has no content hashes yet; this update adds them.", str(self.path)
            )
        changes = super().update(fresh, remove_missing=remove_missing)
        self.skipped, self.reused, self.passed_over = fresh.skipped, fresh.reused, fresh.passed_over
        return changes

    def _embedded(
        self, names: list[str], metadata: Sequence[dict[str, Any]] | None
    ) -> tuple[list[str], np.ndarray, list[dict[str, Any]] | None, list[str]]:
        """Return names, descriptors, metadata and records of the readable images."""
        paths = [self.folder / name for name in names]
        identities = [text_of(path) for path in paths]
        descriptors, errors = self._describe(paths)
        self.skipped |= {names[row]: error.reason for row, error in errors.items()}
        rows = sorted(descriptors)
        return (
            [names[row] for row in rows],
            np.array([descriptors[row] for row in rows]),
            None if metadata is None else [metadata[row] for row in rows],
            [identities[row] for row in rows],
        )

    def augmented(self, n: int = 5, alpha: float = 3.0) -> Index:
        """Return an index of the same kind and images after database-side augmentation.

        Each descriptor is moved towards the descriptors of its n nearest neighbours. Every image is
        a query once, so with an exact index the time grows with the square of the number of images.
        Images added later are not augmented.

        Args:
            n: number of neighbours, at least 1.
            alpha: exponent of the similarity as a weight, at least 0; 0 is the plain mean.

        Raises:
            ValueError: if n or alpha is out of range.
        """
        whole_number("n", n, 1)
        number("alpha", alpha, 0)
        index = copy(self)
        index.path = None
        index.names, index.identities = self.names.copy(), self.identities.copy()
        index.metadata, index.skipped = [*map(dict, self.metadata)], self.skipped.copy()
        index._nearest = self._augmented_search(n, alpha)
        index._augmented = None
        return index

    def search(self, query: ImageSource, k: int = 10, ranking: Ranking | None = None) -> Matches:
        """Search for the images most similar to a query, best first.

        Args:
            query: an image as `load_image` takes it: a path, the bytes of a file, a file opened in
                binary mode, a PIL image, an RGB array (height, width, 3) or a `Crop` of one of
                these.
            k: number of results; fewer if the index has fewer images.
            ranking: query expansion and re-ranking; None for neither.

        Raises:
            BadImageError: if the query cannot be read.
            ValueError: if k is not a whole number of at least 1.
        """
        query = in_memory(query)
        (matches,) = self.search_descriptors(self._descriptor_of(query), k, ranking)
        return Matches(matches, query)

    def search_each(
        self, queries: Iterable[ImageSource], k: int = 10, ranking: Ranking | None = None
    ) -> list[Matches | BadImageError]:
        """Search for several queries; a query that cannot be read gives its error instead."""
        whole_number("k", k, 1)
        queries = [_in_memory(query) for query in image_sources(queries)]
        descriptors, errors = self._describe(queries)
        results: dict[int, Matches | BadImageError] = {**errors}
        if descriptors:
            matches_of = self.search_descriptors(np.stack(list(descriptors.values())), k, ranking)
            for row, matches in zip(descriptors, matches_of, strict=True):
                results[row] = Matches(matches, queries[row])
        return [results[row] for row in range(len(results))]

    def within(self, query: ImageSource, threshold: float) -> Matches:
        """Return all images with at least this cosine similarity to a query, best first.

        The search is exact for every kind of index.

        Raises:
            BadImageError: if the query cannot be read.
            ValueError: if the threshold is not a number from -1 to 1.
        """
        number("threshold", threshold, -1, 1)
        query = in_memory(query)
        (matches,) = self.within_descriptors(self._descriptor_of(query), threshold)
        return Matches(matches, query)

    @cached_property
    def _embedder(self) -> ImageEmbedder:
        return self.model.routed()  # cached: the check for a changed model takes time

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the runtime, which the receiver chooses anew."""
        return {name: value for name, value in self.__dict__.items() if name != "_embedder"}

    def _describe(
        self, images: Sequence[ImageSource]
    ) -> tuple[dict[int, np.ndarray], dict[int, BadImageError]]:
        """Return descriptors and errors, each by the image's position in `images`."""
        descriptors: dict[int, np.ndarray] = {}
        errors: dict[int, BadImageError] = {}
        for row, result in self._embedder.embed_each(images, scales=self.scales):
            if isinstance(result, BadImageError):
                errors[row] = result
            else:
                descriptors[row] = result
        return descriptors, errors

    def _descriptor_of(self, query: ImageSource) -> np.ndarray:
        descriptors, errors = self._describe([query])
        if errors:
            raise errors[0]
        return descriptors[0][None]

    def save(self, path: str | Path) -> None:
        """Write the index to a folder, or to one file if the name ends in `.npz`.

        A folder holds the whole index; an old index in it is replaced atomically. An `.npz` file is
        for `numpy.load` and has `names`, `descriptors`, `scales`, `model_id`, `model_name`,
        `skipped_names` and `skipped_reasons`. It has no metadata, and `load` returns an exact
        index.

        Raises:
            OSError: if the index cannot be written; an old index is unchanged then.
        """
        contents = {
            "names": self.names,
            "descriptors": self.descriptors,
            "scales": self.scales,
            "model_id": self.model_id,
            "model_name": name_of_model(self.model),
            "skipped": self.skipped,
            "metadata": checked_metadata(self.metadata, len(self)),
            "identities": self.identities,
            "nearest": self._nearest,
            "folder": self.folder,
        }
        path = user_path(path)
        is_file = path.suffix == ".npz" or (is_special(path) and not path.is_dir())
        (write_file if is_file else write_contents)(path, contents)

    @classmethod
    def load(
        cls, path: str | Path, model: ImageEmbedder, folder: str | Path | None = None
    ) -> Index:
        """Load an index that `save` wrote. Nothing in it is executed.

        For a folder, the sha256 of every file is verified, and descriptors are memory-mapped.

        Args:
            path: the folder or the file.
            model: the model that the index was built with.
            folder: the folder of the images. None: the folder that the index was built from, if the
                index is a folder and its images' folder exists; else the current folder.

        Raises:
            OSError: if the index cannot be read.
            ValueError: if it is not an index, is damaged, or was made with another model.
        """
        path = user_path(path)
        contents = read_contents(path) if path.is_dir() else read_file(path)
        descriptors = contents["descriptors"]
        model_id, model_name = contents["model_id"], contents["model_name"]
        _check_model(path, model_id, model_name, descriptors.shape[1], model)
        images_folder = Path(contents.get("folder", "."))
        index = cls(
            model,
            contents["names"],
            descriptors,
            folder=folder
            if folder is not None
            else images_folder
            if images_folder.is_dir()
            else ".",
            scales=contents["scales"],
            skipped=contents["skipped"],
            metadata=contents.get("metadata"),
            identities=contents.get("identities"),
        )
        index.path = path
        index._nearest = contents.get("nearest", index._nearest)
        return index


def _listed(folder: str | Path | Iterable[str | Path]) -> Listing:
    if not isinstance(folder, str | os.PathLike):
        type_name = type(folder).__name__
        folder = [*folder] if isinstance(folder, Iterable) else []
        if not folder or not all(isinstance(path, str | os.PathLike) for path in folder):
            raise TypeError(
                "folder must be the path of a folder of images, or paths of images, not"
                f" {type_name}. For other images, use Index(model, names, model.embed(images))."
            )
    return list_images(folder)


def _in_memory(query: ImageSource) -> ImageSource:
    try:
        return in_memory(query)
    except BadImageError:  # the embedder raises it again, as the result of this query alone
        return query


def _check_model(
    path: str | Path, model_id: str, model_name: str, dim: int, model: ImageEmbedder
) -> None:
    own_id = model.model_id
    if model_id != own_id or dim != model.descriptor_dim:
        raise ValueError(
            f"{str(path)!r} was made with {model_name!r} ({model_id}, {dim} dimensions), whose"
            f" descriptors cannot be compared with those of {name_of_model(model)!r} ({own_id},"
            f" {model.descriptor_dim} dimensions)."
        )

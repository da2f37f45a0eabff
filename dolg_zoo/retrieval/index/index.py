"""An index: the descriptors of many images, and the search among them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dolg_zoo._util.files import is_special
from dolg_zoo.embedders.fingerprint import name_of_model
from dolg_zoo.errors import BadImageError
from dolg_zoo.retrieval.extraction.folder import embed_folder
from dolg_zoo.retrieval.extraction.store import DescriptorStore
from dolg_zoo.retrieval.index.contents import read_contents, write_contents
from dolg_zoo.retrieval.index.file import read_file, write_file
from dolg_zoo.retrieval.index.gallery import Gallery, check_k, check_threshold
from dolg_zoo.retrieval.index.items import check_names, checked_metadata
from dolg_zoo.retrieval.matches import Matches
from dolg_zoo.retrieval.search.approximate import kind_for
from dolg_zoo.retrieval.search.ranking import Ranking, augment_database
from dolg_zoo.retrieval.unit_rows import unit

if TYPE_CHECKING:
    from dolg_zoo.embedders.base import ImageEmbedder
    from dolg_zoo.preprocessing import ImageSource


class Index(Gallery):
    """The descriptors of images, searched by cosine.

    ```python
    index = Index.build(model, "photos/")
    index.search("query.jpg", k=10)
    index.save("photos.index")
    ```

    Attributes:
        model: the model that made the descriptors and makes those of queries.
        names: the images' paths below the folder, with `/` between the parts; each is there once.
        descriptors: (images, dim), float32, each row of length 1, in the order of `names`; mapped
            from its file if the index was loaded from a folder.
        metadata: a dictionary for each image, of what JSON can hold; may be changed.
        folder: where the images are.
        scales: the scales at which images are embedded: see `DOLG.embed`.
        skipped: name to reason, for the images that could not be read.
        model_id: a hash of the model's weights and settings.
        reused: how many of the descriptors came from the cache.

    Args:
        kind: how to search: "exact"; "hnsw" or "ivfpq", which find most of what is nearest in a
            fraction of the time; "auto" for what suits the number of images.
        recall: the share of the ten nearest that an approximate search is to find, from 0 to 1; it
            is measured on the descriptors themselves, and the search goes as far as it takes.

    Raises:
        ValueError: if a descriptor is not finite or not of length 1, a name is there twice or
            leads out of the folder, or an argument is out of its range.
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
    ) -> None:
        super().__init__(names, descriptors, folder, metadata, kind, recall, name_of_model(model))
        self.model = model
        self.scales = _scales_of(model, scales)
        self.skipped = dict(skipped or {})
        self.model_id = model.model_id
        self.reused = reused

    @classmethod
    def build(
        cls,
        model: ImageEmbedder,
        folder: str | Path,
        *,
        batch_size: int = 16,
        scales: Sequence[float] | None = None,
        progress: bool = True,
        cache: bool = False,
        kind: str = "auto",
        recall: float = 0.95,
    ) -> Index:
        """Embeds the images of a folder and the folders below it.

        Args:
            model: what to embed with.
            folder: where the images are.
            batch_size: images that go through the network at once.
            scales: multiples of the image size, for images and queries; None for those of the
                preset.
            progress: whether to draw a progress bar on a terminal if it takes long.
            cache: whether to keep the descriptors in the user's cache folder, and to take from
                there those of images that have not changed, by size and time. A job that was
                interrupted then goes on where it was a minute before, at worst.
            kind: how to search.
            recall: of an approximate search.

        Raises:
            OSError: if the folder does not exist or cannot be listed.
            ValueError: if there is no image in it, or none that can be read, or if the model
                gives descriptors that are not finite.
        """
        kind_for(0, kind)  # to fail before the work
        scales = _scales_of(model, scales)
        found = embed_folder(
            model, folder, batch_size=batch_size, scales=scales, progress=progress, cache=cache
        )
        return cls(
            model,
            found.names,
            found.descriptors,
            folder=folder,
            scales=scales,
            skipped=found.skipped,
            reused=found.reused,
            kind=kind,
            recall=recall,
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
        """An index of the descriptors in a store, which the model made.

        Args:
            store: the store, or its folder.
            model: the model that made the descriptors.
            folder: where the images are.
            kind: how to search.
            recall: of an approximate search.

        Raises:
            OSError: if there is no store.
            ValueError: if it is damaged, or was made with another model.
        """
        if not isinstance(store, DescriptorStore):
            store = DescriptorStore.open(store)
        _check_model(store.folder, store.model_id, store.model_name, store.dim, model)
        names, descriptors = store.read()
        for start in range(0, len(names), 65536):  # float16 keeps the length to three digits
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
        )

    def add(
        self,
        names: Iterable[str],
        descriptors: np.ndarray | None = None,
        metadata: Sequence[Mapping[str, Any] | None] | None = None,
    ) -> None:
        """Adds images. Those whose names are there already are replaced, and keep their metadata.

        Many at a time are added sooner than one by one: each call copies the descriptors, and has
        the recall of an approximate search measured anew.

        Args:
            names: their paths below `folder`.
            descriptors: (images, dim), finite and not zero. None: the images are read and embedded,
                and those that cannot be read go to `skipped`.
            metadata: a dictionary, or None, for each.

        Raises:
            ValueError: if something does not fit; nothing is added then.
        """
        names = list(names)
        check_names(names)
        if metadata is not None:
            metadata = checked_metadata(metadata, len(names))
        if not names:
            return
        if descriptors is None:
            names, descriptors, metadata = self._embedded(names, metadata)
            if not names:
                return
        new = unit(descriptors, self.descriptors.shape[1])
        if len(new) != len(names):
            raise ValueError(f"There are {len(new)} descriptors for {len(names)} names.")
        known = dict(zip(self.names, self.metadata, strict=True))
        kept = [known.get(name, {}) for name in names] if metadata is None else list(metadata)
        self._change(set(names), names, new, [dict(each or {}) for each in kept])
        for name in names:
            self.skipped.pop(name, None)

    def update(self, fresh: Gallery) -> tuple[int, int]:
        """`Gallery.update`; raises ValueError also if the other is of another model or scales."""
        if not isinstance(fresh, Index):
            raise TypeError(f"An index is updated by an Index, not by a {type(fresh).__name__}.")
        _check_model(
            fresh.folder,
            fresh.model_id,
            name_of_model(fresh.model),
            fresh.descriptors.shape[1],
            self.model,
        )
        if fresh.scales != self.scales:
            raise ValueError(
                f"Images embedded at the scales {fresh.scales} cannot join those at {self.scales}."
            )
        return super().update(fresh)

    def _embedded(
        self, names: list[str], metadata: Sequence[dict] | None
    ) -> tuple[list[str], np.ndarray, list[dict[str, Any]] | None]:
        """Of the images that can be read: names, descriptors and metadata."""
        found: dict[int, np.ndarray] = {}
        paths = [self.folder / name for name in names]
        for place, result in self._embedder.embed_each(paths, scales=self.scales):
            if isinstance(result, BadImageError):
                self.skipped[names[place]] = result.reason
            else:
                found[place] = result
        places = sorted(found)
        return (
            [names[place] for place in places],
            np.array([found[place] for place in places]),
            None if metadata is None else [metadata[place] for place in places],
        )

    def augmented(self, n: int = 5, alpha: float = 3.0) -> Index:
        """An index of the same images after database-side augmentation, of the same kind.

        Each descriptor is moved towards those of its n nearest neighbours. Every image is searched
        for once, so the time of an exact index grows with the square of the number of images.
        Images added later are not augmented.

        Args:
            n: how many others, from 1 on.
            alpha: from 0, the plain mean, up: the higher, the less the unlike ones count.

        Raises:
            ValueError: if n or alpha is out of its range.
        """
        check_k(n)
        options = Ranking(expand=int(n), alpha=alpha)  # checks alpha
        return Index(
            self.model,
            self.names,
            augment_database(self.descriptors, self._nearest.search, options.expand, options.alpha),
            folder=self.folder,
            scales=self.scales,
            skipped=self.skipped,
            reused=self.reused,
            metadata=self.metadata,
            kind=self.kind,
            recall=self.asked_recall,
        )

    def search(self, query: ImageSource, k: int = 10, ranking: Ranking | None = None) -> Matches:
        """The images most like a query, best first; a notebook shows them.

        Args:
            query: a path, a PIL image, an array (height, width, 3), uint8 or float in [0, 255], or
                a `Crop` of one of these.
            k: how many; fewer come if the index has fewer.
            ranking: what to do to the ranking besides; None for nothing.

        Raises:
            BadImageError: if the query cannot be read.
            ValueError: if k is no whole number of at least 1.
        """
        (found,) = self.search_descriptors(self._descriptor_of(query), k, ranking)
        return Matches(found, query)

    def search_each(
        self, queries: Iterable[ImageSource], k: int = 10, ranking: Ranking | None = None
    ) -> list[Matches | BadImageError]:
        """`search` for several queries at once; in place of a query that cannot be read, why."""
        check_k(k)
        queries = list(queries)
        results: dict[int, Matches | BadImageError] = {}
        descriptors: dict[int, np.ndarray] = {}
        for place, result in self._embedder.embed_each(queries, scales=self.scales):
            if isinstance(result, BadImageError):
                results[place] = result
            else:
                descriptors[place] = result
        if descriptors:
            found = self.search_descriptors(np.stack(list(descriptors.values())), k, ranking)
            for place, matches in zip(descriptors, found, strict=True):
                results[place] = Matches(matches, queries[place])
        return [results[place] for place in range(len(results))]

    def within(self, query: ImageSource, threshold: float) -> Matches:
        """All images whose cosine with a query is the threshold or more, best first.

        Exact whatever the kind of the index.

        Raises:
            BadImageError: if the query cannot be read.
            ValueError: if the threshold is no number from -1 to 1.
        """
        check_threshold(threshold)
        (found,) = self.within_descriptors(self._descriptor_of(query), threshold)
        return Matches(found, query)

    @cached_property
    def _embedder(self) -> ImageEmbedder:
        return self.model.routed()  # chosen once: to see whether a model has changed takes time

    def _descriptor_of(self, query: ImageSource) -> np.ndarray:
        ((_, descriptor),) = self._embedder.embed_each([query], scales=self.scales)
        if isinstance(descriptor, BadImageError):
            raise descriptor
        return descriptor[None]

    def save(self, path: str | Path) -> None:
        """Writes the index to a folder, or to one file if the name ends in `.npz`.

        A folder holds all of it; an index that was there is replaced, at one moment. An `.npz` file
        is for `numpy.load` and holds `names`, `descriptors`, `scales`, `model_id`, `model_name`,
        `skipped_names` and `skipped_reasons`: no metadata, and `load` searches it exactly.

        Raises:
            OSError: if it cannot be written; what was there is left as it was.
        """
        contents = {
            "names": self.names,
            "descriptors": self.descriptors,
            "scales": self.scales,
            "model_id": self.model_id,
            "model_name": name_of_model(self.model),
            "skipped": self.skipped,
            "metadata": checked_metadata(self.metadata, len(self)),
            "nearest": self._nearest,
            "folder": self.folder,
        }
        in_a_file = Path(path).suffix == ".npz" or (is_special(path) and not Path(path).is_dir())
        (write_file if in_a_file else write_contents)(path, contents)

    @classmethod
    def load(
        cls, path: str | Path, model: ImageEmbedder, folder: str | Path | None = None
    ) -> Index:
        """Reads an index that `save` wrote. Nothing in it is executed.

        Of a folder, the sha256 of every file is compared, and the descriptors are mapped.

        Args:
            path: the folder or the file.
            model: the model that the index was built with.
            folder: where the images are now. None: where they were when it was built, if the index
                is a folder and that is still there; else here.

        Raises:
            OSError: if it cannot be read.
            ValueError: if it is no such index, is damaged, or was made with another model.
        """
        contents = read_contents(path) if Path(path).is_dir() else read_file(path)
        descriptors = contents["descriptors"]
        model_id, model_name = contents["model_id"], contents["model_name"]
        _check_model(path, model_id, model_name, descriptors.shape[1], model)
        hint = Path(contents.get("folder", "."))
        index = cls(
            model,
            contents["names"],
            descriptors,
            folder=folder if folder is not None else hint if hint.is_dir() else ".",
            scales=contents["scales"],
            skipped=contents["skipped"],
            metadata=contents.get("metadata"),
        )
        index._nearest = contents.get("nearest", index._nearest)
        return index


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


def _scales_of(model: ImageEmbedder, scales: Sequence[float] | None) -> tuple[float, ...]:
    return tuple(model.image_converter.scales if scales is None else scales)

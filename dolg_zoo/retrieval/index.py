"""An index: the descriptors of a folder's images, and the search among them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from dolg_zoo.files import replacing
from dolg_zoo.preprocessing import BadImageError, list_images
from dolg_zoo.progress import track
from dolg_zoo.retrieval.cache import cache_file, key_of, read_cache, write_cache
from dolg_zoo.retrieval.fingerprint import fingerprint

if TYPE_CHECKING:
    from dolg_zoo.dolg import DOLG, ImageSource

KEEP_EVERY_S = 60


@dataclass(frozen=True)
class Match:
    """An image that a search found.

    Attributes:
        name: its path below the indexed folder, with `/` between the parts.
        path: where it is.
        score: cosine of its descriptor and the query's, from -1 to 1.
    """

    name: str
    path: Path
    score: float


class Index:
    """The descriptors of a folder's images, searched exactly, by cosine.

    ```python
    index = Index.build(model, "photos/")
    index.search("query.jpg", k=10)
    ```

    Attributes:
        model: the model that made the descriptors and makes those of queries.
        names: the images' paths below the folder, with `/` between the parts.
        descriptors: (images, dim), float32, each row of length 1, in the order of `names`.
        folder: where the images are.
        scales: the scales at which images are embedded: see `DOLG.embed`.
        skipped: name to reason, for the images that could not be read.
        model_id: a hash of the model's weights and settings.
        reused: how many of the descriptors came from the cache.

    Raises:
        ValueError: if a descriptor is not finite.
    """

    def __init__(
        self,
        model: DOLG,
        names: Sequence[str],
        descriptors: np.ndarray,
        *,
        folder: str | Path = ".",
        scales: Sequence[float] | None = None,
        skipped: Mapping[str, str] | None = None,
        reused: int = 0,
    ) -> None:
        self.model = model
        self.names = list(names)
        self.descriptors = np.ascontiguousarray(descriptors, np.float32)
        self.folder = Path(folder)
        self.scales = _scales_of(model, scales)
        self.skipped = dict(skipped or {})
        finite = np.isfinite(self.descriptors).all(axis=1)
        if not finite.all():
            raise ValueError(
                f"{_name_of(model)!r} gives descriptors that are not finite, the first of them for"
                f" {self.names[np.argmin(finite)]!r}; its weights or its dtype are at fault."
            )
        self.model_id = fingerprint(model)
        self.reused = reused

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def build(
        cls,
        model: DOLG,
        folder: str | Path,
        *,
        batch_size: int = 16,
        scales: Sequence[float] | None = None,
        progress: bool = True,
        cache: bool = False,
    ) -> Index:
        """Embeds the images of a folder and the folders below it.

        Args:
            model: what to embed with.
            folder: where the images are.
            batch_size: images that go through the network at once.
            scales: as for `DOLG.embed`; queries are embedded at the same.
            progress: whether to draw a progress bar on a terminal if it takes long.
            cache: whether to keep the descriptors in the user's cache folder, and to take from
                there those of images that have not changed, by size and time. A job that was
                interrupted then goes on where it was a minute before, at worst.

        Raises:
            OSError: if the folder does not exist or cannot be listed.
            ValueError: if there is no image in it, or none that can be read, or if the model
                gives descriptors that are not finite.
        """
        folder = Path(folder)
        scales = _scales_of(model, scales)
        paths = list_images(folder)
        names = [path.relative_to(folder).as_posix() for path in paths]
        keys = [key_of(path, name) for path, name in zip(paths, names, strict=True)]
        file = cache_file(folder, fingerprint(model), scales) if cache else None
        kept = read_cache(file, model.descriptor_dim) if file else {}
        known = {key: kept[key] for key in keys if key in kept}
        reused = len(known)
        missing = [place for place, key in enumerate(keys) if key not in known]
        errors: dict[str, str] = {}
        found = model.embed_each(
            [paths[place] for place in missing], batch_size=batch_size, scales=scales
        )
        due = time.monotonic() + KEEP_EVERY_S
        try:
            for turn, result in track(found, len(missing), "Embedding") if progress else found:
                if isinstance(result, BadImageError):
                    errors[names[missing[turn]]] = result.reason
                else:
                    known[keys[missing[turn]]] = result
                if file and time.monotonic() >= due:  # against what gives no time to clean up
                    write_cache(file, known, quiet=True)
                    due = time.monotonic() + KEEP_EVERY_S
        finally:  # also after Ctrl-C: what is done is done
            if file and known.keys() != kept.keys():
                write_cache(file, known)
        skipped = {name: errors[name] for name in names if name in errors}
        if not known:
            name, reason = next(iter(skipped.items()))
            raise ValueError(
                f"None of the {len(names)} images in {str(folder)!r} can be read; the first,"
                f" {name!r}: {reason}."
            )
        kept_keys = [key for key in keys if key in known]
        return cls(
            model,
            [name for name, _, _ in kept_keys],
            np.stack([known[key] for key in kept_keys]),
            folder=folder,
            scales=scales,
            skipped=skipped,
            reused=reused,
        )

    def search(self, query: ImageSource, k: int = 10) -> list[Match]:
        """The images most like a query, best first.

        Args:
            query: a path, a PIL image, an array (height, width, 3), uint8 or float in [0, 255], or
                a `Crop` of one of these.
            k: how many; fewer come if the index has fewer.

        Raises:
            BadImageError: if the query cannot be read.
            ValueError: if k is no whole number of at least 1.
        """
        ((_, descriptor),) = self.model.embed_each([query], scales=self.scales)
        if isinstance(descriptor, BadImageError):
            raise descriptor
        return self.search_descriptors(descriptor[None], k)[0]

    def search_descriptors(self, descriptors: np.ndarray, k: int = 10) -> list[list[Match]]:
        """The images most like each of some descriptors, best first.

        Args:
            descriptors: (queries, dim), finite; their lengths do not matter if they are not 0.
            k: how many for each; fewer come if the index has fewer.

        Raises:
            ValueError: if the shape does not fit, a descriptor is zero or not finite, or k is no
                whole number of at least 1.
        """
        dim = self.descriptors.shape[1]
        descriptors = np.asarray(descriptors, np.float64)
        if descriptors.ndim != 2 or descriptors.shape[1] != dim:
            raise ValueError(
                f"The descriptors must have shape (queries, {dim}), not {descriptors.shape}."
            )
        if isinstance(k, bool) or not isinstance(k, Integral) or k < 1:
            raise ValueError(f"k must be a whole number of at least 1, got {k!r}.")
        largest = np.abs(descriptors).max(axis=1, keepdims=True)
        if not np.isfinite(largest).all() or not largest.all():
            raise ValueError(
                "The descriptors to search for must be finite and not zero; check the model or the"
                " file that they come from."
            )
        descriptors = descriptors / largest  # else the squares of very large ones overflow
        descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
        scores, places = self._faiss.search(descriptors.astype(np.float32), min(int(k), len(self)))
        return [
            [
                Match(self.names[place], self.folder / self.names[place], float(score))
                for score, place in zip(*result, strict=True)
            ]
            for result in zip(scores, places, strict=True)
        ]

    @cached_property
    def _faiss(self) -> Any:
        import faiss

        index = faiss.IndexFlatIP(self.descriptors.shape[1])
        index.add(self.descriptors)
        return index

    def save(self, path: str | Path) -> None:
        """Writes the index to a `.npz` file, which `load` or `numpy.load` reads.

        Its arrays: `names`, `descriptors`, `scales`, `model_id`, `model_name`, `skipped_names`
        and `skipped_reasons`. Where the images are is not in it.

        Raises:
            OSError: if the file cannot be written; one that was there is left as it was.
        """
        with replacing(path) as file:
            np.savez(
                file,
                names=np.array(self.names, str),
                descriptors=self.descriptors,
                scales=np.array(self.scales, float),
                model_id=np.array(self.model_id),
                model_name=np.array(_name_of(self.model)),
                skipped_names=np.array(list(self.skipped), str),
                skipped_reasons=np.array(list(self.skipped.values()), str),
            )

    @classmethod
    def load(cls, path: str | Path, model: DOLG, folder: str | Path = ".") -> Index:
        """Reads an index that `save` wrote. Nothing in the file is executed.

        Args:
            path: the file.
            model: the model that the index was built with.
            folder: where the images are now.

        Raises:
            OSError: if the file cannot be read.
            ValueError: if it is no such file, or was made with another model.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in _DTYPES}
            _check_arrays(arrays)
        except OSError:
            raise
        except Exception as error:  # NumPy and zipfile raise half a dozen types for such files
            raise ValueError(
                f"{str(path)!r} is no index that dolg-zoo wrote, or is damaged: {error}"
            ) from error
        index = cls(
            model,
            arrays["names"].tolist(),
            arrays["descriptors"],
            folder=folder,
            scales=arrays["scales"].tolist(),
            skipped=dict(
                zip(
                    arrays["skipped_names"].tolist(),
                    arrays["skipped_reasons"].tolist(),
                    strict=True,
                )
            ),
        )
        made_with = str(arrays["model_id"])
        if made_with != index.model_id or index.descriptors.shape[1] != model.descriptor_dim:
            raise ValueError(
                f"{str(path)!r} was made with {str(arrays['model_name'])!r} ({made_with},"
                f" {index.descriptors.shape[1]} dimensions), whose descriptors cannot be compared"
                f" with those of {_name_of(model)!r} ({index.model_id}, {model.descriptor_dim}"
                " dimensions)."
            )
        return index


_DTYPES = {
    "names": "U",
    "descriptors": "f",
    "scales": "f",
    "model_id": "U",
    "model_name": "U",
    "skipped_names": "U",
    "skipped_reasons": "U",
}


def _check_arrays(arrays: Mapping[str, np.ndarray]) -> None:
    for name, kind in _DTYPES.items():
        if arrays[name].dtype.kind != kind:
            raise ValueError(f"{name} has the type {arrays[name].dtype}")
    names, descriptors, scales = arrays["names"], arrays["descriptors"], arrays["scales"]
    if descriptors.ndim != 2 or names.shape != descriptors.shape[:1]:
        raise ValueError("there is not one descriptor for each name")
    if not len(names):
        raise ValueError("there is no image in it")
    with np.errstate(over="ignore"):
        lengths = np.linalg.norm(descriptors.astype(np.float32), axis=1)
    if not (np.abs(lengths - 1) <= 1e-3).all():  # nor is a NaN
        raise ValueError("there are descriptors whose length is not 1")
    if scales.ndim != 1 or not len(scales) or not ((scales > 0) & (scales <= 8)).all():
        raise ValueError(f"the scales {scales.tolist()} are not numbers above 0 and up to 8")
    if arrays["skipped_names"].ndim != 1 or (
        arrays["skipped_names"].shape != arrays["skipped_reasons"].shape
    ):
        raise ValueError("there is not one reason for each image that was skipped")
    for name in names.tolist():
        # a stranger's file must not make a search open what lies outside the folder
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise ValueError(f"the name {name!r} leads out of the folder")


def _scales_of(model: DOLG, scales: Sequence[float] | None) -> tuple[float, ...]:
    return tuple(model.image_converter.scales if scales is None else scales)


def _name_of(model: DOLG) -> str:
    metadata = model.metadata
    return metadata.get("preset") or metadata.get("name") or "a model without a name"

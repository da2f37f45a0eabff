"""The two tasks of Google Landmarks v2, from images, descriptors or predictions."""

from __future__ import annotations

from collections.abc import Collection as Container
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from dolg_zoo import __version__
from dolg_zoo._util.arguments import whole_number
from dolg_zoo._util.files import user_path
from dolg_zoo._util.hashing import sha256_of
from dolg_zoo.errors import StoreError
from dolg_zoo.evaluation.files import check_complete, first_names, open_descriptors
from dolg_zoo.evaluation.gldv2.lists import (
    IMAGE_ID,
    read_landmarks,
    read_recognition_predictions,
    read_recognition_solution,
    read_retrieval_predictions,
    read_retrieval_solution,
)
from dolg_zoo.evaluation.gldv2.scores import (
    DEPTH,
    mean_average_precision_at,
    micro_average_precision,
    recognise,
)
from dolg_zoo.evaluation.report import (
    Report,
    settings_of_model,
    settings_of_ranking,
    settings_of_store,
)
from dolg_zoo.evaluation.search import nearest
from dolg_zoo.preprocessing import list_images
from dolg_zoo.retrieval import DescriptorStore
from dolg_zoo.retrieval.extraction.collection import Collection
from dolg_zoo.retrieval.extraction.descriptor_cache import describe_files
from dolg_zoo.retrieval.search.ranking import Ranking

if TYPE_CHECKING:
    from dolg_zoo.embedders.base import ImageEmbedder

NEIGHBOURS = 5


@dataclass(frozen=True)
class Images:
    """Images of Google Landmarks v2 by id: files, or descriptors in a store."""

    folder: Path  # folder of the files or of the store
    paths: Mapping[str, Path] | None  # id to file; None for a store
    used: Container[str] | None = None  # the ids to use; None for all

    @classmethod
    def find(cls, folder: str | Path, needed: Container[str], only_these: bool) -> Images:
        """Find images in a folder, flat or as a/b/c/abc….jpg, or open a store there."""
        # FileNotFoundError: an image of `needed` is missing. `only_these`: ignore other images.
        folder, used = user_path(folder), needed if only_these else None
        if (folder / "store.json").is_file():
            return cls(folder, None, used)
        path_of = {path.stem: path for path in list_images(folder) if IMAGE_ID.fullmatch(path.stem)}
        check_complete(sorted(set(needed) - path_of.keys()), len(needed), folder)
        paths = {name: path for name, path in path_of.items() if used is None or name in used}
        return cls(folder, paths, used)

    def described(
        self, model: ImageEmbedder | None, scales: Sequence[float] | None, progress: bool
    ) -> tuple[Collection, DescriptorStore | None]:
        """Return the descriptors by id, and the store that they come from, or None."""
        if self.paths is not None:
            assert model is not None  # the task's `needs_model` was checked
            paths, folder = self.paths, self.folder
            return describe_files(model, paths, folder, scales=scales, progress=progress), None
        store = open_descriptors(self.folder, model, scales)
        collection = Collection.of_store(store)
        ids = [PurePosixPath(name).stem for name in collection.names]
        collection = Collection(ids, collection.dim, collection.parts)
        keep = np.array([self.used is None or name in self.used for name in ids], bool)
        if not keep.any():
            raise StoreError(
                f"None of the {len(ids)} descriptors in {str(self.folder)!r} belongs to an image of"
                f" the task; the first belongs to {ids[0] if ids else None!r}."
            )
        return collection.only(keep), store


@dataclass(frozen=True)
class _Task:
    solution: Mapping[str, Mapping[str, Container[Any]]]
    queries: Images
    sha256: str

    gallery_name: ClassVar[str]  # name of the attribute with the images to search

    @property
    def _gallery(self) -> Images:
        images: Images = getattr(self, self.gallery_name)
        return images

    @property
    def needs_model(self) -> bool:
        """Whether there are images to embed, not only stores."""
        return any(images.paths is not None for images in (self._gallery, self.queries))

    def _predicted(self, gallery: list[str], scores: np.ndarray, indices: np.ndarray) -> list[Any]:
        """Return the prediction of each query, or None, from its neighbours (queries, k)."""
        raise NotImplementedError

    @staticmethod
    def _report(solution: Mapping[str, Any], predictions: Mapping[str, Any], *facts: Any) -> Report:
        """Return the scores; `facts` are the other fields of the report."""
        raise NotImplementedError

    def _evaluate(
        self,
        k: int,
        model: ImageEmbedder | None,
        scales: Sequence[float] | None,
        ranking: Ranking | None,
        progress: bool,
        **more_settings: int,
    ) -> Report:
        """Search and score; raise StoreError if the stores' model or scales are not the model's."""
        if model is None and self.needs_model:
            raise ValueError("There are images to embed; give a model.")
        ranking = ranking or Ranking()
        gallery, store = self._gallery.described(model, scales, progress)
        queries, query_store = self.queries.described(model, scales, progress)
        if store is not None and query_store is not None:
            expected = replace(store.settings, dtype=query_store.dtype)
            query_store.settings.check_same(expected, query_store.folder)
        if model is not None:
            settings = settings_of_model(model, scales)
        else:
            assert store is not None  # without a model both are stores
            settings = settings_of_store(store)
        predicted = self._predicted(gallery.names, *nearest(queries.read(), gallery, k, ranking))
        pairs = zip(queries.names, predicted, strict=True)
        missing = sorted(_queries_of(self.solution) - set(queries.names))
        skipped = gallery.skipped | queries.skipped
        settings |= {
            self.gallery_name: len(gallery),
            "skipped": len(skipped),
            **more_settings,
            **settings_of_ranking(ranking),
            "solution_sha256": self.sha256,
        }
        return self._report(
            self.solution,
            {query: prediction for query, prediction in pairs if prediction is not None},
            settings,
            [f"{len(missing)} queries have no descriptor: {first_names(missing)}."]
            if missing
            else [],
            skipped,
        )


@dataclass(frozen=True)
class Retrieval(_Task):
    """GLDv2 retrieval: each query must find the images of its landmark in the index.

    Attributes:
        solution: for each subset, query to relevant images.
        queries: the images to search for.
        sha256: sha256 of the solution's file.
        index: the images to search.
    """

    index: Images
    gallery_name = "index"

    @classmethod
    def find(cls, solution: str | Path, index: str | Path, queries: str | Path) -> Retrieval:
        """Read the solution and find all images.

        Args:
            solution: `retrieval_solution_v2.1.csv`.
            index: a folder with the index images, or a store of their descriptors.
            queries: a folder with the test images, or a store of their descriptors.

        Raises:
            FileNotFoundError: if a query or a relevant image is missing in a folder of images.
            DataError: if the solution is invalid; the message names the line.
            OSError: if a file or folder cannot be read.
        """
        truth = read_retrieval_solution(solution)
        relevant = {
            image for subset in truth.values() for images in subset.values() for image in images
        }
        gallery = Images.find(index, relevant, only_these=False)
        test = Images.find(queries, _queries_of(truth), only_these=True)
        return cls(truth, test, sha256_of(user_path(solution)), gallery)

    def evaluate(
        self,
        model: ImageEmbedder | None = None,
        *,
        scales: Sequence[float] | None = None,
        ranking: Ranking | None = None,
        progress: bool = True,
    ) -> Report:
        """Return mAP@100 of a model or of stored descriptors.

        A query without a descriptor scores 0, and an image without a descriptor is not found.

        Args:
            model: the model to embed with; None if both are stores.
            scales: multiples of the image size; None for the preset's scales.
            ranking: query expansion, augmentation and re-ranking. With any of them, the index must
                fit into memory.
            progress: whether to draw a progress bar on a terminal if it takes long.

        Raises:
            StoreError: if a store was made with another model or other scales than the model or
                the other store.
            ValueError: if there are images to embed but no model, or no image can be embedded.
            OSError: if a file or folder cannot be read.
        """
        return self._evaluate(DEPTH, model, scales, ranking, progress)

    def _predicted(self, gallery: list[str], scores: np.ndarray, indices: np.ndarray) -> list[Any]:
        return [[gallery[index] for index in row if index >= 0] for row in indices.tolist()]

    @staticmethod
    def _report(solution: Mapping[str, Any], predictions: Mapping[str, Any], *facts: Any) -> Report:
        rows = [
            (subset, mean_average_precision_at(predictions, queries), len(queries))
            for subset, queries in solution.items()
        ]
        header = ("", f"mAP@{DEPTH}", "queries")
        return Report("GLDv2 retrieval", header, rows, *facts)


@dataclass(frozen=True)
class Recognition(_Task):
    """GLDv2 recognition: which landmark does a query show, if any?

    Attributes:
        solution: for each subset, query to landmarks.
        queries: the images to recognise.
        sha256: sha256 of the solution's file.
        train: the images whose landmarks are known.
        landmarks: id of a training image, as a number, to landmark: both sorted by id.
    """

    train: Images
    landmarks: tuple[np.ndarray, np.ndarray]
    gallery_name = "train"

    @classmethod
    def find(
        cls, solution: str | Path, labels: str | Path, train: str | Path, queries: str | Path
    ) -> Recognition:
        """Read the lists and find all images.

        Args:
            solution: `recognition_solution_v2.1.csv`.
            labels: `train.csv` or `train_clean.csv`.
            train: a folder with the training images, or a store of their descriptors.
            queries: a folder with the test images, or a store of their descriptors.

        Raises:
            FileNotFoundError: if a query or a training image is missing in a folder of images.
            DataError: if a list is invalid; the message names the line.
            OSError: if a file or folder cannot be read.
        """
        truth = read_recognition_solution(solution)
        ids, landmarks = read_landmarks(labels)
        order = np.argsort(ids)
        labelled = {f"{number:016x}" for number in ids.tolist()}
        gallery = Images.find(train, labelled, only_these=True)
        test = Images.find(queries, _queries_of(truth), only_these=True)
        by_id = ids[order], landmarks[order]
        return cls(truth, test, sha256_of(user_path(solution)), gallery, by_id)

    def evaluate(
        self,
        model: ImageEmbedder | None = None,
        *,
        neighbours: int = NEIGHBOURS,
        scales: Sequence[float] | None = None,
        ranking: Ranking | None = None,
        progress: bool = True,
    ) -> Report:
        """Return μAP of a model or of stored descriptors.

        The nearest training images vote for the landmark with their similarities.

        Args:
            model: the model to embed with; None if both are stores.
            neighbours: the number of neighbours that vote.
            scales: multiples of the image size; None for the preset's scales.
            ranking: query expansion, augmentation and re-ranking. With any of them, the
                descriptors of the training images must fit into memory.
            progress: whether to draw a progress bar on a terminal if it takes long.

        Raises:
            StoreError: if a store was made with another model or other scales than the model or
                the other store.
            ValueError: if there are images to embed but no model, if no image can be embedded, or
                if `neighbours` is below 1.
            OSError: if a file or folder cannot be read.
        """
        whole_number("neighbours", neighbours, 1)
        return self._evaluate(neighbours, model, scales, ranking, progress, neighbours=neighbours)

    def _predicted(self, gallery: list[str], scores: np.ndarray, indices: np.ndarray) -> list[Any]:
        ids, landmarks = self.landmarks
        numbers = np.array([int(name, 16) for name in gallery], np.uint64)
        return recognise(scores, indices, landmarks[np.searchsorted(ids, numbers)])

    @staticmethod
    def _report(solution: Mapping[str, Any], predictions: Mapping[str, Any], *facts: Any) -> Report:
        rows = []
        for subset, queries in solution.items():
            with_landmark = sum(map(bool, queries.values()))
            score = micro_average_precision(predictions, queries)
            rows.append((subset, score, len(queries), with_landmark))
        header = ("", "μAP", "queries", "with a landmark")
        return Report("GLDv2 recognition", header, rows, *facts)


def score_retrieval(solution: str | Path, predictions: str | Path) -> Report:
    """Return mAP@100 of a submission, a file with the columns id and images.

    Raises:
        DataError: if a file is invalid; the message names the line.
        OSError: if a file cannot be read.
    """
    return Retrieval._report(
        read_retrieval_solution(solution),
        read_retrieval_predictions(predictions),
        _settings_of_files(solution, predictions),
    )


def score_recognition(solution: str | Path, predictions: str | Path) -> Report:
    """Return μAP of a submission, a file with the columns id and landmarks.

    Raises:
        DataError: if a file is invalid; the message names the line.
        OSError: if a file cannot be read.
    """
    return Recognition._report(
        read_recognition_solution(solution),
        read_recognition_predictions(predictions),
        _settings_of_files(solution, predictions),
    )


def _queries_of(solution: Mapping[str, Mapping[str, Container[Any]]]) -> set[str]:
    return {query for subset in solution.values() for query in subset}


def _settings_of_files(solution: str | Path, predictions: str | Path) -> dict[str, str]:
    return {
        "predictions_sha256": sha256_of(user_path(predictions)),
        "solution_sha256": sha256_of(user_path(solution)),
        "dolg_zoo_version": __version__,
    }

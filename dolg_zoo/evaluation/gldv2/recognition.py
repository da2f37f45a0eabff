"""Google Landmarks v2, recognition: from images, descriptors or predictions."""

from __future__ import annotations

from collections.abc import Collection as Container
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dolg_zoo._util.arguments import whole_number
from dolg_zoo._util.files import user_path
from dolg_zoo._util.hashing import sha256_of
from dolg_zoo.evaluation.gldv2.images import (
    Compared,
    Images,
    missing,
    needs_model,
    queries_of,
    settings_of_files,
)
from dolg_zoo.evaluation.gldv2.lists import read_landmarks
from dolg_zoo.evaluation.gldv2.scores import micro_average_precision, recognise
from dolg_zoo.evaluation.gldv2.solutions import (
    read_recognition_predictions,
    read_recognition_solution,
)
from dolg_zoo.evaluation.report import Report, settings_of_ranking
from dolg_zoo.evaluation.search import nearest
from dolg_zoo.retrieval.search.ranking import Ranking

if TYPE_CHECKING:
    from dolg_zoo.embedders.base import ImageEmbedder

NEIGHBOURS = 5


@dataclass(frozen=True)
class Recognition:
    """GLDv2 recognition: which landmark does a query show, if any?

    Attributes:
        solution: for each subset, query to landmarks.
        train: the images whose landmarks are known.
        queries: the images to recognise.
        landmarks: id of a training image, as a number, to landmark: both sorted by id.
        sha256: sha256 of the solution's file.
    """

    solution: Mapping[str, Mapping[str, Container[int]]]
    train: Images
    queries: Images
    landmarks: tuple[np.ndarray, np.ndarray]
    sha256: str

    @classmethod
    def find(
        cls, solution: str | Path, labels: str | Path, train: str | Path, queries: str | Path
    ) -> Recognition:
        """Look for all files.

        Args:
            solution: `recognition_solution_v2.1.csv`.
            labels: `train.csv` or `train_clean.csv`.
            train: a folder with the training images, or a store of their descriptors.
            queries: a folder with the test images, or a store of their descriptors.

        Raises:
            FileNotFoundError: if a query or a training image is missing in a folder of images.
            DataError: if something is wrong with a list; names the line.
            OSError: if something cannot be read.
        """
        read = read_recognition_solution(solution)
        ids, landmarks = read_landmarks(labels)
        order = np.argsort(ids)
        return cls(
            read,
            Images.find(train, {f"{number:016x}" for number in ids.tolist()}, only_these=True),
            Images.find(queries, queries_of(read), only_these=True),
            (ids[order], landmarks[order]),
            sha256_of(user_path(solution)),
        )

    @property
    def needs_model(self) -> bool:
        """Return whether there are images to embed."""
        return needs_model(self.train, self.queries)

    def evaluate(
        self,
        model: ImageEmbedder | None = None,
        *,
        neighbours: int = NEIGHBOURS,
        scales: Sequence[float] | None = None,
        ranking: Ranking | None = None,
        progress: bool = True,
    ) -> Report:
        """μAP of a model, or of stored descriptors, by the nearest training images.

        `recognise` describes how the nearest neighbours vote for the landmark.

        Args:
            model: the model to embed with; not needed if both are stores.
            neighbours: the number of neighbours that vote.
            scales: multiples of the image size; None for those of the preset.
            ranking: query expansion, augmentation and re-ranking. With any of them, the
                descriptors of the training images have to fit into memory.
            progress: whether to draw a progress bar on a terminal if it takes long.

        Raises:
            StoreError: if a store was made with another model or other scales than what it is
                compared with.
            ValueError: if there are images to embed but no model, if no image can be embedded, or
                if `neighbours` is below 1.
            OSError: if a file or folder cannot be read.
        """
        whole_number("neighbours", neighbours, 1)
        ranking = ranking or Ranking()
        compared = Compared.of(self.train, self.queries, model, scales, progress)
        scores, indices = nearest(compared.queries.read(), compared.gallery, neighbours, ranking)
        ids, landmarks = self.landmarks
        found = np.array([int(name, 16) for name in compared.gallery.names], np.uint64)
        voted = recognise(scores, indices, landmarks[np.searchsorted(ids, found)])
        predictions = {
            query: vote
            for query, vote in zip(compared.queries.names, voted, strict=True)
            if vote is not None
        }
        settings = {
            **compared.settings,
            "train": len(compared.gallery),
            "skipped": len(compared.skipped),
            "neighbours": neighbours,
            **settings_of_ranking(ranking),
            "solution_sha256": self.sha256,
        }
        notes = missing(queries_of(self.solution), compared.queries)
        return _recognition(self.solution, predictions, settings, notes, compared.skipped)


def score_recognition(solution: str | Path, predictions: str | Path) -> Report:
    """μAP of a submission: a file with id, landmarks.

    Raises:
        DataError: if something is wrong with a file; names the line.
        OSError: if a file cannot be read.
    """
    return _recognition(
        read_recognition_solution(solution),
        read_recognition_predictions(predictions),
        settings_of_files(solution, predictions),
    )


def _recognition(
    solution: Mapping[str, Any], predictions: Mapping[str, Any], *facts: Any
) -> Report:
    rows = []
    for subset, queries in solution.items():
        with_landmark = sum(map(bool, queries.values()))
        score = micro_average_precision(predictions, queries)
        rows.append((subset, score, len(queries), with_landmark))
    header = ("", "μAP", "queries", "with a landmark")
    return Report("GLDv2 recognition", header, rows, *facts)

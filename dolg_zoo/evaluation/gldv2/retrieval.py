"""Google Landmarks v2, retrieval: from images, descriptors or predictions."""

from __future__ import annotations

from collections.abc import Collection as Container
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from dolg_zoo.evaluation.gldv2.scores import DEPTH, mean_average_precision_at
from dolg_zoo.evaluation.gldv2.solutions import read_retrieval_predictions, read_retrieval_solution
from dolg_zoo.evaluation.report import Report, settings_of_ranking
from dolg_zoo.evaluation.search import nearest
from dolg_zoo.retrieval.search.ranking import Ranking

if TYPE_CHECKING:
    from dolg_zoo.embedders.base import ImageEmbedder


@dataclass(frozen=True)
class Retrieval:
    """GLDv2 retrieval: each query is to find the images of its landmark in the index.

    Attributes:
        solution: for each subset, query to relevant images.
        index: the images to search.
        queries: the images to search for.
        sha256: sha256 of the solution's file.
    """

    solution: Mapping[str, Mapping[str, Container[str]]]
    index: Images
    queries: Images
    sha256: str

    @classmethod
    def find(cls, solution: str | Path, index: str | Path, queries: str | Path) -> Retrieval:
        """Look for all files.

        Args:
            solution: `retrieval_solution_v2.1.csv`.
            index: a folder with the index images, or a store of their descriptors.
            queries: a folder with the test images, or a store of their descriptors.

        Raises:
            FileNotFoundError: if a query or a relevant image is missing in a folder of images.
            DataError: if something is wrong with the solution; names the line.
            OSError: if something cannot be read.
        """
        read = read_retrieval_solution(solution)
        relevant = {
            image for subset in read.values() for images in subset.values() for image in images
        }
        return cls(
            read,
            Images.find(index, relevant, only_these=False),
            Images.find(queries, queries_of(read), only_these=True),
            sha256_of(user_path(solution)),
        )

    @property
    def needs_model(self) -> bool:
        """Return whether there are images to embed."""
        return needs_model(self.index, self.queries)

    def evaluate(
        self,
        model: ImageEmbedder | None = None,
        *,
        scales: Sequence[float] | None = None,
        ranking: Ranking | None = None,
        progress: bool = True,
    ) -> Report:
        """mAP@100 of a model, or of stored descriptors.

        An image or a query without a descriptor is one that finds nothing and is not found.

        Args:
            model: the model to embed with; not needed if both are stores.
            scales: multiples of the image size; None for those of the preset.
            ranking: query expansion, augmentation and re-ranking. With any of them, the index has
                to fit into memory.
            progress: whether to draw a progress bar on a terminal if it takes long.

        Raises:
            StoreError: if a store was made with another model or other scales than what it is
                compared with.
            ValueError: if nothing can be embedded.
            OSError: if a file or folder cannot be read.
        """
        ranking = ranking or Ranking()
        compared = Compared.of(self.index, self.queries, model, scales, progress)
        _, indices = nearest(compared.queries.read(), compared.gallery, DEPTH, ranking)
        names = compared.gallery.names
        predictions = {
            query: [names[index] for index in found if index >= 0]
            for query, found in zip(compared.queries.names, indices.tolist(), strict=True)
        }
        settings = {
            **compared.settings,
            "index": len(compared.gallery),
            "skipped": len(compared.skipped),
            **settings_of_ranking(ranking),
            "solution_sha256": self.sha256,
        }
        notes = missing(queries_of(self.solution), compared.queries)
        return _retrieval(self.solution, predictions, settings, notes, compared.skipped)


def score_retrieval(solution: str | Path, predictions: str | Path) -> Report:
    """mAP@100 of a submission: a file with id, images.

    Raises:
        DataError: if something is wrong with a file; names the line.
        OSError: if a file cannot be read.
    """
    return _retrieval(
        read_retrieval_solution(solution),
        read_retrieval_predictions(predictions),
        settings_of_files(solution, predictions),
    )


def _retrieval(solution: Mapping[str, Any], predictions: Mapping[str, Any], *facts: Any) -> Report:
    rows = [
        (subset, mean_average_precision_at(predictions, queries), len(queries))
        for subset, queries in solution.items()
    ]
    header = ("", f"mAP@{DEPTH}", "queries")
    return Report("GLDv2 retrieval", header, rows, *facts)

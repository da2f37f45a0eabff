"""Leave-one-out evaluation on a folder of photographs with a subfolder for each class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dolg_zoo._util.text import percent
from dolg_zoo.evaluation.metrics import leave_one_out_each
from dolg_zoo.evaluation.report import Report, settings_of_model, settings_of_ranking
from dolg_zoo.evaluation.search import improved
from dolg_zoo.preprocessing import PassedOver, list_images
from dolg_zoo.preprocessing.files import check_classes, class_of
from dolg_zoo.retrieval.extraction.descriptor_cache import describe_files
from dolg_zoo.retrieval.search.ranking import Ranking

if TYPE_CHECKING:
    from dolg_zoo.embedders.base import ImageEmbedder

ALL = "all"
MOST_FAULTS = 5
"""The most classes, and pairs of classes, that a report names as the worst."""


@dataclass(frozen=True)
class ClassFolder:
    """Images in subfolders; each subfolder is a class.

    Attributes:
        folder: the folder of the subfolders.
        paths: name of each image, its path below the folder, to its file.
        left_out: the number of images that are not in a subfolder.
        passed_over: files of the folder that are not images or cannot be read.
    """

    folder: Path
    paths: Mapping[str, Path]
    left_out: int
    passed_over: PassedOver = field(default_factory=PassedOver)

    @classmethod
    def find(cls, folder: str | Path) -> ClassFolder:
        """List the images; the subfolder of the first level is the class, also of deeper images.

        Raises:
            ValueError: if no class has two images, or the subfolders are the parts of a data set
                (such as train and test) or hold only folders; the message shows the right command.
            OSError: if there is no such folder, or it cannot be read.
        """
        listed = list_images(folder)
        folder = listed.folder
        check_classes(folder, listed.names, "dolg evaluate folder")
        files = dict(zip(listed.names, listed, strict=True))
        paths = {name: path for name, path in files.items() if "/" in name}
        if max(Counter(map(class_of, paths)).values(), default=0) < 2:
            raise ValueError(
                f"No subfolder of {str(folder)!r} has two images: there is nothing to find. Give"
                " each class a subfolder of its own."
            )
        return cls(folder, paths, len(files) - len(paths), listed.passed_over)

    def evaluate(
        self,
        model: ImageEmbedder,
        *,
        scales: Sequence[float] | None = None,
        ranking: Ranking | None = None,
        progress: bool = True,
    ) -> Report:
        """Return the scores of a model: each image is the query once, among all others.

        Args:
            model: the model to embed with.
            scales: multiples of the image size; None for the preset's scales.
            ranking: query expansion and re-ranking, but not `dba`: it would add each query's
                descriptor to the images to find.
            progress: whether to draw a progress bar on a terminal if it takes long.

        Raises:
            ValueError: if no class has two images that can be read, or `ranking.dba` is not 0.
            OSError: if a file or folder cannot be read.
        """
        ranking = ranking or Ranking()
        if ranking.dba:
            raise ValueError(
                "Database augmentation would put each query's descriptor into the descriptors of"
                " the images to find; leave it out here."
            )
        collection = describe_files(
            model, self.paths, self.folder, scales=scales, progress=progress
        )
        names, skipped = sorted(collection.names), collection.skipped
        labels = np.array([class_of(name) for name in names])
        descriptors = collection.in_order(names)
        queries, descriptors, first = improved(descriptors, descriptors, ranking, True)
        precisions, hits, first_results = leave_one_out_each(descriptors, labels, queries, first)
        is_query = ~np.isnan(precisions)
        if not is_query.any():
            raise ValueError(
                f"No class has two images that can be read; {len(skipped)} of {len(self.paths)}"
                " cannot."
            )
        rows = [(ALL, len(names), *_means(precisions, hits, is_query))]
        for label in np.unique(labels[is_query]).tolist():
            of_class = labels == label
            rows.append((label, int(of_class.sum()), *_means(precisions, hits, of_class)))
        lone = int((~is_query).sum())
        notes = self._notes(lone, len(skipped))
        notes += _faults(rows[1:], labels[is_query], labels[first_results[is_query]])
        settings = {
            **settings_of_model(model, scales),
            "images": len(names),
            "queries": int(is_query.sum()),
            "classes": len(rows) - 1,
            "skipped": len(skipped),
            **settings_of_ranking(ranking),
        }
        header = ("", "images", "mAP", "recall@1")
        return Report("leave-one-out", header, rows, settings, notes, skipped, self.passed_over)

    def _notes(self, lone: int, skipped: int) -> list[str]:
        counts = {
            "in no subfolder were left out": self.left_out,
            "are the only one of their class: they are in the gallery, but are no queries": lone,
            "could not be read": skipped,
        }
        return [f"{count} images {fact}." for fact, count in counts.items() if count]


def _faults(
    rows: Sequence[tuple[str, int, float, float]], labels: np.ndarray, predictions: np.ndarray
) -> Iterator[str]:
    """Yield a sentence with the worst classes, then one with the pairs confused most often."""
    worst = sorted((row for row in rows if row[2] < 1), key=lambda row: row[2])[:MOST_FAULTS]
    if worst and len(rows) > 1:
        named = ", ".join(f"{label} ({percent(score)})" for label, _, score, _ in worst)
        yield f"Worst classes by mAP: {named}."
    wrong = labels != predictions
    pairs = Counter(
        tuple(sorted(pair))
        for pair in zip(labels[wrong].tolist(), predictions[wrong].tolist(), strict=True)
    )
    if pairs:
        named = ", ".join(f"{a} and {b} ({n})" for (a, b), n in pairs.most_common(MOST_FAULTS))
        yield f"Classes whose images were found first by each other: {named}."


def _means(precisions: np.ndarray, hits: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    return float(precisions[mask].mean()), float(hits[mask].mean())

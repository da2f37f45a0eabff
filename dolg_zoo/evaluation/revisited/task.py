"""Evaluation on Revisited Oxford and Paris, with or without a million distractors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dolg_zoo._util.files import user_path
from dolg_zoo.evaluation.files import find_images, first_names, open_descriptors
from dolg_zoo.evaluation.report import Report, settings_of_model, settings_of_ranking
from dolg_zoo.evaluation.revisited.ground_truth import (
    BENCHMARKS,
    GroundTruth,
    find_ground_truth,
    read_ground_truth,
)
from dolg_zoo.evaluation.revisited.scores import KS, revisited_scores
from dolg_zoo.evaluation.search import improved
from dolg_zoo.preprocessing import Crop
from dolg_zoo.retrieval.extraction.collection import Collection
from dolg_zoo.retrieval.extraction.descriptor_cache import describe_files
from dolg_zoo.retrieval.search.ranking import Ranking

if TYPE_CHECKING:
    from dolg_zoo.embedders.base import ImageEmbedder

OVERLAP = (
    "GLDv2-clean, the training set, overlaps the test landmarks: 36 of 70 ROxford and 38 of 70"
    " RParis queries, according to the authors of RGLDv2-clean."
)
NOT_CROPPED = (
    "The queries were not cropped to the box of the landmark; only scores of cropped queries"
    " follow the protocol."
)


@dataclass(frozen=True)
class Revisited:
    """A benchmark and its files.

    ```python
    report = Revisited.find("roxford5k", "roxford5k/").evaluate(model)
    print(report.to_markdown())
    ```

    Attributes:
        benchmark: "roxford5k" or "rparis6k".
        truth: the ground truth.
        folder: the folder of the images.
        paths: name to image file.
        extra: image files in the folder that belong neither to the queries nor to the gallery.
    """

    benchmark: str
    truth: GroundTruth
    folder: Path
    paths: Mapping[str, Path]
    extra: Sequence[Path]

    @classmethod
    def find(
        cls, benchmark: str, images: str | Path, ground_truth: str | Path | None = None
    ) -> Revisited:
        """Find all files of a benchmark.

        Args:
            benchmark: "roxford5k" or "rparis6k".
            images: the folder with the images, or with subfolders of images.
            ground_truth: `gnd_<benchmark>.pkl`; None: it is in the folder or in its parent.

        Raises:
            FileNotFoundError: if images or the ground truth are missing.
            ValueError: if the ground truth is damaged, or an image name matches two files.
            OSError: if a file or folder cannot be read.
        """
        if ground_truth is None:
            ground_truth = find_ground_truth(benchmark, images)
        truth = read_ground_truth(ground_truth)
        paths, extra = find_images(images, [*truth.gallery, *truth.queries])
        return cls(benchmark, truth, user_path(images), paths, extra)

    def evaluate(
        self,
        model: ImageEmbedder,
        *,
        crop: bool = True,
        scales: Sequence[float] | None = None,
        distractors: str | Path | None = None,
        ranking: Ranking | None = None,
        progress: bool = True,
    ) -> Report:
        """Return the scores of a model.

        Without `ranking`, distractors are read in parts. With it, all distractors are in memory,
        and database augmentation takes twice that memory.

        Args:
            model: the model to embed with.
            crop: whether queries are cropped to the landmark, as the protocol asks.
            scales: multiples of the image size; None for the preset's scales.
            distractors: a descriptor store of images that show none of the landmarks, made with
                the same model at the same scales.
            ranking: query expansion, augmentation and re-ranking.
            progress: whether to draw a progress bar on a terminal if it takes long.

        Raises:
            StoreError: if the distractors were made with another model or other scales, or are
                damaged.
            ValueError: if an image cannot be read; the descriptors of all others are cached.
            OSError: if a file or folder cannot be read.
        """
        ranking = ranking or Ranking()
        more = Collection([], model.descriptor_dim, lambda: iter(()))
        if distractors is not None:
            more = Collection.of_store(open_descriptors(distractors, model, scales))
        images = {name: self.paths[name] for name in self.truth.gallery}
        gallery = self._embedded(model, images, scales, progress)
        queries = self._embedded(model, self._queries(crop), scales, progress)
        if ranking.is_plain:
            scores = revisited_scores(self.truth, queries, gallery, more.parts())
        else:
            gallery_images = Collection([*self.truth.gallery], more.dim, lambda: iter([gallery]))
            queries, all_rows, first = improved(queries, gallery_images.read(more), ranking)
            augmented, distractor_rows = np.split(all_rows, [len(gallery)])
            scores = revisited_scores(self.truth, queries, augmented, [distractor_rows], first)
        settings = {
            **settings_of_model(model, scales),
            "queries": len(queries),
            "gallery": len(gallery),
            "crop_queries": crop,
            "distractors": len(more),
            **settings_of_ranking(ranking),
            "ground_truth_sha256": self.truth.sha256,
        }
        title = BENCHMARKS[self.benchmark] + (f" + {len(more)} distractors" if len(more) else "")
        header = ("", "mAP", *(f"mP@{k}" for k in KS), "queries")
        rows: list[tuple[str | int | float, ...]] = [
            (setup, score.map, *score.precision_at.values(), score.queries)
            for setup, score in scores.items()
        ]
        return Report(title, header, rows, settings, self._notes(model, crop))

    def _embedded(
        self,
        model: ImageEmbedder,
        images: Mapping[str, Path | Crop],
        scales: Sequence[float] | None,
        progress: bool,
    ) -> np.ndarray:
        """Return the descriptors in the order of the images."""
        collection = describe_files(model, images, self.folder, scales=scales, progress=progress)
        if skipped := collection.skipped:
            lines = "\n".join(f"  {name!r}: {reason}" for name, reason in skipped.items())
            raise ValueError(
                f"{len(skipped)} images cannot be read, and without them the scores cannot be"
                f" compared; the descriptors of all others are kept in the cache:\n{lines}"
            )
        return collection.in_order(list(images))

    def _queries(self, crop: bool) -> dict[str, Path | Crop]:
        # An image may have several queries, so a number makes each name unique.
        pairs = zip(self.truth.queries, self.truth.boxes, strict=True)
        return {
            f"{name} {number}": Crop(self.paths[name], box) if crop else self.paths[name]
            for number, (name, box) in enumerate(pairs)
        }

    def _notes(self, model: ImageEmbedder, crop: bool) -> list[str]:
        notes = [] if crop else [NOT_CROPPED]
        texts = (
            model.metadata.get(key, "") for key in ("preset", "name", "derived_from", "dataset")
        )
        if any("gldv2" in str(text).lower() for text in texts):
            notes.append(OVERLAP)
        if self.extra:
            notes.append(
                f"{len(self.extra)} images in the folder belong to neither the queries nor the"
                f" gallery, and were left out: {first_names(path.name for path in self.extra)}."
            )
        return notes

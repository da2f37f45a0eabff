"""Score a model on images that it was not trained on, and judge whether training helped."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from dolg_zoo._util.text import percent
from dolg_zoo.embedders.base import ImageEmbedder
from dolg_zoo.errors import BadImageError, DataError
from dolg_zoo.evaluation.metrics import leave_one_out_each
from dolg_zoo.training.data import Examples
from dolg_zoo.training.data.split import ENOUGH_CLASSES

MANY_CLASSES = 30
"""With this many classes to train on, more images help more than more classes."""
DRAWS = 2000
"""Number of bootstrap draws for a confidence interval."""


@dataclasses.dataclass(frozen=True)
class Scores:
    """Scores of one model on the images for validation.

    Attributes:
        map: mean of the images' average precision, from 0 to 1.
        recall_at_1: share of the images whose first result is of the same class.
        by_class: for each class with at least two images, the number of its images and the sum of
            their average precisions.
        skipped: name of each image that could not be read, and the reason.
    """

    map: float
    recall_at_1: float
    by_class: list[tuple[int, float]]
    skipped: dict[str, str]


def validate(model: ImageEmbedder, examples: Examples, runtime: str | None = "keras") -> Scores:
    """Search for each image among the others; DataError if too few can be read."""
    descriptors, labels, skipped = [], [], {}
    # `embed_each` yields in any order; sorted, so that ties in scores give the same result.
    # Keras, since a runtime would have to compile the new weights each time.
    results = model.embed_each(examples.sources, runtime=runtime)
    for index, result in sorted(results, key=lambda pair: pair[0]):
        if isinstance(result, BadImageError):
            skipped[examples.name(index)] = result.reason
        else:
            descriptors.append(result)
            labels.append(examples.labels[index])
    if not np.any(np.bincount(labels) > 1 if labels else []):
        raise DataError(
            f"{len(skipped)} of the {len(examples)} images to validate on cannot be read; no class"
            " has two readable images, as validation needs."
        )
    precisions, hits, _ = leave_one_out_each(np.stack(descriptors), labels)
    is_query = ~np.isnan(precisions)
    precisions, hits = precisions[is_query], hits[is_query]
    _, of_class = np.unique(np.array(labels)[is_query], return_inverse=True)
    counts, totals = np.bincount(of_class), np.bincount(of_class, weights=precisions)
    by_class = list(zip(counts.tolist(), totals.tolist(), strict=True))
    return Scores(float(precisions.mean()), float(hits.mean()), by_class, skipped)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether training helped: the mAP of the start and of the result, on the same images.

    Attributes:
        before: mAP before training, from 0 to 1.
        after: mAP after training, of the best epoch and the best average with the start.
        default: mAP of the default preset, if the run began with another model.
        interval: 95 % confidence interval of the change of the mAP. None if there are fewer classes
            than `ENOUGH_CLASSES`.
        images: number of images.
        classes: number of their classes.
        trained_classes: number of training classes.
        is_new: whether no validation class is a training class.
    """

    before: float
    after: float
    default: float | None
    interval: tuple[float, float] | None
    images: int
    classes: int
    trained_classes: int
    is_new: bool

    @classmethod
    def of(
        cls,
        before: Scores,
        after: Scores,
        default: Scores | None,
        trained_classes: int,
        is_new: bool,
    ) -> Verdict:
        """Compare scores; the interval is a bootstrap over the classes."""
        counts = np.array([count for count, _ in before.by_class])
        gains = np.array([total for _, total in after.by_class]) - [x for _, x in before.by_class]
        interval = None
        if len(counts) >= ENOUGH_CLASSES:
            rng = np.random.default_rng(0)
            draws = (rng.integers(len(counts), size=len(counts)) for _ in range(DRAWS))
            changes = [gains[drawn].sum() / counts[drawn].sum() for drawn in draws]
            low, high = np.quantile(changes, (0.025, 0.975))
            interval = float(low), float(high)
        return cls(
            before.map,
            after.map,
            None if default is None else default.map,
            interval,
            int(counts.sum()),
            len(counts),
            trained_classes,
            is_new,
        )

    @property
    def digits(self) -> int:
        """Number of decimals of an mAP from 0 to 1 that the interval justifies."""
        if self.interval is None:
            return 2
        half = (self.interval[1] - self.interval[0]) / 2
        return min(4, max(2, math.ceil(-math.log10(max(half, 1e-4)))))

    @property
    def measured_on(self) -> str:
        """The images in words."""
        which = "that were not trained on" if self.is_new else "that were trained on"
        return f"{self.images} images of {self.classes} classes {which}"

    @property
    def helped(self) -> bool:
        """Whether the result is better than the start; else the preset is the start."""
        return self.after > self.before

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes and the sentence, for JSON."""
        return {**dataclasses.asdict(self), "summary": str(self)}

    def __str__(self) -> str:
        """Return what was measured, whether it is more than chance, and what to do."""
        digits = self.digits - 2
        before, after = percent(self.before, digits), percent(self.after, digits)
        values = f"mAP {before} before and {after} after"
        if self.default is not None:
            values += f" (default preset {percent(self.default, digits)})"
        values += f", on {self.measured_on}"
        if self.interval is None:
            values += f"; {ENOUGH_CLASSES} classes or more could tell a change from chance"
        else:
            digits = max(digits, 1)
            low, high = (f"{100 * end:+.{digits}f}" for end in self.interval)
            values += f"; change {100 * (self.after - self.before):+.{digits}f}"
            values += f", 95 % interval {low} to {high}"
        more = "more images" if self.trained_classes >= MANY_CLASSES else "more classes"
        if not self.helped:
            return (
                f"Training did not help, so the preset is the model before training: {values}."
                f" Give {more}, or use the model as it is."
            )
        if self.interval is None or self.interval[0] <= 0:
            return (
                f"Whether training helped is not certain: {values}. Give {more}, or validate on"
                " more (--validate-on)."
            )
        return f"Training helped: {values}. Use the new preset; {more} would help further."

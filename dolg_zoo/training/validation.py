"""How well a model finds images that it was not trained on."""

from __future__ import annotations

import numpy as np

from dolg_zoo.embedders.dolg import DOLG
from dolg_zoo.errors import BadImageError, DataError
from dolg_zoo.evaluation import RetrievalScores, leave_one_out
from dolg_zoo.training.data import Examples


def validate(model: DOLG, examples: Examples) -> tuple[RetrievalScores, dict[str, str]]:
    """Search for each image among the others; return scores, and name to fault if unreadable."""
    descriptors, labels, skipped = [], [], {}
    # in their own order, not that in which they were done: scores with ties would vary
    results = model.embed_each(examples.sources, runtime="keras")  # its weights are new each time
    for index, result in sorted(results, key=lambda pair: pair[0]):
        if isinstance(result, BadImageError):
            skipped[examples.name(index)] = result.reason
        else:
            descriptors.append(result)
            labels.append(examples.labels[index])
    if not np.any(np.bincount(labels) > 1 if labels else []):
        raise DataError(
            f"{len(skipped)} of the {len(examples)} images to validate on cannot be read; no class"
            " has two left to find one by the other."
        )
    return leave_one_out(np.stack(descriptors), labels), skipped

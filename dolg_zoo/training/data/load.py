"""Read the images of a run from their source, and split them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dolg_zoo.training.config import TrainingConfig, data_table
from dolg_zoo.training.data.examples import Examples
from dolg_zoo.training.data.sources import load_examples
from dolg_zoo.training.data.split import split


def load_split(config: TrainingConfig, relative_to: str | Path) -> tuple[Examples, Examples]:
    """Return the images to train on, and those to validate on.

    Raises:
        DataError: if there is nothing to train on, or a source is faulty.
    """
    examples = load_examples(config.data, relative_to)
    plan = config.split
    if plan.on is not None:
        table = data_table(plan.on)
        if "csv" in table and "anywhere" in config.data:
            table["anywhere"] = config.data["anywhere"]
        return examples, load_examples(table, relative_to)
    if plan.by == "none":
        return examples, examples.subset(np.empty(0, np.int64))
    return split(examples, by=plan.by, share=plan.share, seed=config.run.seed, classes=plan.classes)

"""The metadata of a trained preset, complete enough to publish it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dolg_zoo
from dolg_zoo._util.files import user_path
from dolg_zoo.training.config import TrainingConfig
from dolg_zoo.training.data import Examples


def describe(
    config: TrainingConfig, training: Examples, validation: Examples, row: Mapping[str, float]
) -> dict[str, Any]:
    """Return the metadata of one epoch's preset; values in [metadata] come first."""
    dataset = (
        f"{dataset_name(config.data)} ({len(training)} images of {len(training.counts)} classes)"
    )
    begin = f"{config.model.architecture} with {config.model.backbone_weights} weights"
    if config.model.preset:
        folder = user_path(config.model.preset)
        begin = folder.name if folder.is_dir() else config.model.preset
    metadata: dict[str, Any] = {
        "description": f"Finds what {dataset_name(config.data)} shows.",
        "dataset": dataset,
        "provenance": (
            f"{begin}, trained with dolg-zoo {dolg_zoo.__version__} for {row['epoch']} of"
            f" {config.run.epochs} epochs: {config.head.name}, {config.optimizer.name} at"
            f" {config.optimizer.learning_rate:g}, batches of {config.run.batch_size} at"
            f" {config.run.image_size} pixels, seed {config.run.seed}."
        ),
    }
    if "map" in row:
        kept_back = "classes" if config.split.by == "class" else "images"
        where = f"{len(validation)} images kept back by {kept_back}, each among the others"
        metadata["figures"] = [
            {"metric": name, "value": row[key], "dataset": where, "source": "this training run"}
            for key, name in (("map", "mAP"), ("recall_at_1", "recall@1"))
        ]
    return metadata | config.metadata


def dataset_name(data: Mapping[str, Any]) -> str:
    """Return a name for the images: of a path only the last part, since the rest is private."""
    if "tfds" in data:
        return f"{data['tfds']} of TensorFlow Datasets"
    if "gldv2" in data:
        return f"Google Landmarks v2, {Path(data['gldv2']).name}"
    return Path(data.get("folder") or data["csv"]).resolve().name

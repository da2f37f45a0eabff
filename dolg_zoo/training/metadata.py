"""The metadata of a trained preset, complete enough to publish it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dolg_zoo
from dolg_zoo._util.files import user_path
from dolg_zoo.embedders.dolg import DOLG
from dolg_zoo.training.config import TrainingConfig
from dolg_zoo.training.data import Examples
from dolg_zoo.training.validation import Verdict


def describe(
    config: TrainingConfig, training: Examples, row: Mapping[str, float], verdict: Verdict | None
) -> dict[str, Any]:
    """Return the metadata of one epoch's preset; values in [metadata] replace them."""
    dataset = (
        f"{dataset_name(config.data)} ({len(training)} images of {len(training.counts)} classes)"
    )
    begin = "the default preset"
    if config.model.architecture:
        begin = f"{config.model.architecture} with {config.model.backbone_weights} weights"
    elif config.model.preset:
        folder = user_path(config.model.preset)
        begin = folder.name if folder.is_dir() else config.model.preset
    average = (
        f", averaged with {row['share_of_start']:.0%} of the start"
        if row.get("share_of_start")
        else ""
    )
    metadata: dict[str, Any] = {
        "description": f"Finds what {dataset_name(config.data)} shows.",
        "dataset": dataset,
        "provenance": (
            f"{begin}, trained with dolg-zoo {dolg_zoo.__version__} for {row['epoch']} of"
            f" {config.run.epochs} epochs{average}: {config.head.name}, {config.optimizer.name} at"
            f" {config.optimizer.learning_rate:g}, batches of {config.run.batch_size} at"
            f" {config.run.image_size} pixels, seed {config.run.seed}."
        ),
        "trained_classes": class_ids(training.class_names),
    }
    if verdict:
        digits = verdict.digits
        metadata["figures"] = [
            {
                "metric": "mAP",
                "value": round(max(verdict.before, verdict.after), digits),
                "dataset": f"{verdict.measured_on}, each among the others",
                "source": "this training run",
                "note": f"{round(verdict.before, digits):g} before training",
            }
        ]
        metadata["figures_note"] = str(verdict)
    return metadata | config.metadata


MOST_CLASSES = 20_000
"""A record of more classes would be larger than a small network, so there is none."""


def class_ids(names: Iterable[str]) -> list[str]:
    """Return the first eight digits of each class name's sha256, since names may be private."""
    # numbers identify no class: every collection has a class 1
    names = {name.casefold() for name in names if not name.isdigit()}
    ids = {hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:8] for name in names}
    return sorted(ids) if len(ids) <= MOST_CLASSES else []


def seen_before(model: DOLG, names: Sequence[str]) -> list[str]:
    """Return the names that the model's training classes also have."""
    known = set(model.metadata.get("trained_classes", ()))
    return [name for name in names if known.intersection(class_ids([name]))]


def dataset_name(data: Mapping[str, Any]) -> str:
    """Return a name for the images; only the last part of a path, since the rest is private."""
    if "tfds" in data:
        return f"{data['tfds']} of TensorFlow Datasets"
    if "gldv2" in data:
        return f"Google Landmarks v2, {Path(data['gldv2']).name}"
    return Path(data.get("folder") or data["csv"]).resolve().name

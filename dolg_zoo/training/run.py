"""A whole run: from a configuration to a preset folder."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from dolg_zoo._util.files import replacing
from dolg_zoo._util.outputs import Kind, check_output
from dolg_zoo._util.text import percent
from dolg_zoo.drawing.curves import NAMES
from dolg_zoo.drawing.curves import draw_curves as draw_curves
from dolg_zoo.drawing.style import save_figure
from dolg_zoo.errors import TrainingConfigError
from dolg_zoo.presets.files import CHECKPOINTS, HISTORY, RUN, TRAINED
from dolg_zoo.training.checkpoint import CheckpointFolder
from dolg_zoo.training.config import TrainingConfig
from dolg_zoo.training.distribution import from_chief, naming_lost_workers
from dolg_zoo.training.metadata import describe
from dolg_zoo.training.optimizers import last_rate
from dolg_zoo.training.setup import Run
from dolg_zoo.training.validation import validate

TENSORBOARD = "tensorboard"
CURVES = "curves.png"
_OF_A_RUN = Kind("a picture", lambda path: True)  # whatever is in the folder of a run is its own


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """What a run came to.

    Attributes:
        preset: the preset folder of the best model, or of the last one if there is no validation
            split.
        history: one row per epoch: epoch, loss, accuracy, learning_rate, seconds and, with
            validation images, map and recall_at_1. Row 0 is the model before training.
        best_epoch: the epoch of the saved preset, counted from 1.
        skipped: image to reason, of those that could not be read.
    """

    preset: Path
    history: list[dict[str, float]]
    best_epoch: int
    skipped: dict[str, str]


def train(
    config: TrainingConfig,
    output: str | Path,
    *,
    relative_to: str | Path = ".",
    say: Callable[[str], None] = print,
) -> TrainingResult:
    """Trains a model, and writes it as a preset folder.

    A killed run resumes from its last checkpoint if it is called again with the same
    configuration and folder. Several processes whose TF_CONFIG names them train together; they
    must share the folder.

    ```python
    from dolg_zoo.training import TrainingConfig, train

    tables = {"data": {"folder": "photos"}, "model": {"preset": "dolg_resnet50_gldv2"}}
    result = train(TrainingConfig.from_dict(tables), "my-places")
    model = dolg_zoo.DOLG.from_preset(result.preset)
    ```

    Args:
        config: the training configuration.
        output: the folder for the preset, the history and the checkpoints.
        relative_to: the folder that relative paths of [data] are relative to.
        say: is called with each line about the progress of the run.

    Raises:
        TrainingConfigError: if the configuration does not fit the data, the model or the machine.
        DataError: if there is nothing to train on, or most images cannot be read.
        DivergedError: if the loss is not finite; the previous checkpoint is kept.
        WorkerLostError: if another worker stops.
        OutputError: if the folder holds files that are of no training run.
        OSError: at the end, if the last preset or checkpoint could not be written.
    """
    output = check_output(output, RUN)
    with naming_lost_workers():
        return _Training(Run(config, relative_to), output, say).train()


class _Training:
    def __init__(self, run: Run, output: Path, say: Callable[[str], None]) -> None:
        self.run, self.config, self.output = run, run.config, output
        self.is_chief = run.rank == 0
        self.say = say if self.is_chief else lambda line: None
        self.checkpoints = CheckpointFolder(
            output / CHECKPOINTS, run.classifier, run.other_variables(), run.settings()
        )
        self.step = 0
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Any] | None = None
        self.skipped: dict[str, str] = {}
        self.unwritten: dict[str, OSError] = {}

    def train(self) -> TrainingResult:
        self._restore()
        if not self.history and len(self.run.validation):
            self._end_of_epoch({"epoch": 0})
        per_epoch = self.run.steps_per_epoch
        while self.step < self.config.run.epochs * per_epoch and not self._is_over():
            epoch, begin = self.step // per_epoch, time.monotonic()
            self._take_steps(epoch, (epoch + 1) * per_epoch)
            metrics = self.run.classifier.get_metrics_result()
            self.run.classifier.reset_metrics()
            self._end_of_epoch(
                {
                    "epoch": epoch + 1,
                    **{name: float(value) for name, value in metrics.items()},
                    "learning_rate": last_rate(self.run.classifier.optimizer),
                    "seconds": round(time.monotonic() - begin, 3),
                }
            )
            self._save()
        self._say_whether_it_helped()
        if self.unwritten:
            (what, error), *_ = self.unwritten.items()
            raise OSError(
                f"The {what} could not be written: {error}. The last checkpoint that is whole is"
                f" {self.checkpoints.last() or 'none'}; with room on the disk, the same call goes"
                " on from it."
            ) from error
        assert self.best is not None  # since at least one epoch has ended
        return TrainingResult(self.output / TRAINED, self.history, self.best["epoch"], self.skipped)

    def _restore(self) -> None:
        restored = self.checkpoints.restore()
        if restored:
            self.step, progress = restored
            self.history, self.best = progress["history"], progress["best"]
            self.skipped = progress["skipped"]
            is_done = self.step >= self.config.run.epochs * self.run.steps_per_epoch
            self.say(
                f"The run in {str(self.output)!r} is finished; name another folder to train anew."
                if is_done
                else f"Going on from step {self.step}."
            )
        chiefs = from_chief(self.run.strategy, self.step)
        if chiefs != self.step:
            raise TrainingConfigError(
                f"Worker {self.run.rank} found the checkpoint of step {self.step} in {self.output},"
                f" and worker 0 that of step {chiefs:.0f}: the output folder must be one that all"
                " workers share."
            )

    def _take_steps(self, epoch: int, last: int) -> None:
        self.run.thaw(epoch)
        batches = self.run.batches(self.step, last)
        saved = time.monotonic()
        distributed = self.run.distributed(batches)
        for step in self.run.loop.run(distributed, self.step, last):
            self.step = step
            minutes = (time.monotonic() - saved) / 60
            if self.is_chief and self.step < last and minutes >= self.config.run.checkpoint_minutes:
                self.skipped.update(batches.skipped)
                self.run.loop.check_weights(self.step)
                self._save()
                saved = time.monotonic()
        self.skipped.update(batches.skipped)

    def _end_of_epoch(self, row: dict[str, float]) -> None:
        """Validate, and keep the model if it is the best so far."""
        with self.run.average.used():
            if len(self.run.validation):
                scores, skipped = validate(self.run.model, self.run.validation)
                self.skipped.update(skipped)
                # rounding may differ between hosts; what follows from it must not
                row["map"] = from_chief(self.run.strategy, scores.map)
                row["recall_at_1"] = scores.recall_at_1
            self.history.append(row)
            if row["epoch"] and self._is_best(row):
                self._write("preset", lambda: self._write_preset(row))
                self.best = {"epoch": row["epoch"], "map": row.get("map")}
        self._write("history", lambda: self._write_history(row))
        self.say("  ".join(_in_words(name, value) for name, value in row.items()))

    def _is_best(self, row: dict[str, float]) -> bool:
        return (
            self.best is None
            or "map" not in row
            or row["map"] > self.best["map"]
            or "preset" in self.unwritten
        )

    def _is_over(self) -> bool:
        patience = self.config.run.early_stop_epochs
        if not (patience and self.best and "map" in self.history[-1]):
            return False
        over = self.history[-1]["epoch"] - self.best["epoch"] >= patience
        if over:
            self.say(f"No better mAP for {patience} epochs: this is the end.")
        return over

    def _say_whether_it_helped(self) -> None:
        if self.best is None or self.history[0]["epoch"] != 0:
            return
        images, classes = len(self.run.validation), self.run.validation.num_classes
        if said := why_no_better(self.history[0]["map"], self.best["map"], images, classes):
            self.say(said)

    def _write(self, what: str, write: Callable[[], None]) -> None:
        """Write, and go on if the disk is full: there may be room again by the next time."""
        if not self.is_chief:
            return
        try:
            write()
            self.unwritten.pop(what, None)
        except (OSError, tf.errors.OpError) as error:
            self.unwritten[what] = error
            self.say(f"The {what} of step {self.step} could not be written: {error}")

    def _write_preset(self, row: dict[str, float]) -> None:
        self.output.mkdir(parents=True, exist_ok=True)
        about = describe(self.config, self.run.training, self.run.validation, row)
        self.run.classifier.save_to_preset(self.output / TRAINED, about)

    def _write_history(self, row: dict[str, float]) -> None:
        self.output.mkdir(parents=True, exist_ok=True)
        with replacing(self.output / HISTORY) as file:
            told = {"config": self.config.to_dict(), "history": self.history}
            file.write(json.dumps(told, indent=1).encode())
        save_figure(draw_curves(self.history), self.output / CURVES, kind=_OF_A_RUN)
        if self.config.run.tensorboard:
            with tf.summary.create_file_writer(str(self.output / TENSORBOARD)).as_default():
                for name, value in row.items():
                    tf.summary.scalar(name, value, step=int(row["epoch"]))

    def _save(self) -> None:
        progress = {"history": self.history, "best": self.best, "skipped": self.skipped}
        self._write("checkpoint", lambda: self.checkpoints.save(self.step, progress))


def _in_words(name: str, value: float) -> str:
    is_share = name in ("map", "recall_at_1", "accuracy")
    return f"{NAMES.get(name, name)} {percent(value) if is_share else f'{value:.4g}'}"


def why_no_better(before: float, best: float, images: int, classes: int) -> str | None:
    """Explain why training brought no better mAP (0 to 1); None if it did."""
    if best > before:
        return None
    values = f"mAP was {percent(before)} before it and is {percent(best)} at best"
    chance = 1 / math.sqrt(images)  # twice the standard error of a share, at most
    if before - best > chance:
        return f"Training did not help: {values}. Try a lower learning_rate, or more images."
    return (
        f"Whether training helped cannot be seen from so few: {values}, on {images} images of"
        f" {classes} classes, where {percent(chance)} may be chance. Validate on more images."
    )

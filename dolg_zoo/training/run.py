"""A whole run: from a configuration to a preset folder."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from dolg_zoo._util.files import replacing
from dolg_zoo._util.outputs import Kind, check_output
from dolg_zoo._util.own_folders import CHECKPOINTS, HISTORY, RUN, TRAINED
from dolg_zoo._util.text import percent
from dolg_zoo.drawing.curves import NAMES
from dolg_zoo.drawing.curves import draw_curves as draw_curves
from dolg_zoo.drawing.style import save_figure
from dolg_zoo.embedders.dolg import DOLG
from dolg_zoo.embedders.load import embedder
from dolg_zoo.errors import TrainingConfigError
from dolg_zoo.training.checkpoint import CheckpointFolder
from dolg_zoo.training.config import TrainingConfig
from dolg_zoo.training.distribution import from_chief, naming_lost_workers
from dolg_zoo.training.metadata import describe, seen_before
from dolg_zoo.training.optimizers import last_rate
from dolg_zoo.training.setup import Run
from dolg_zoo.training.validation import Scores, Verdict, validate

TENSORBOARD = "tensorboard"
CURVES = "curves.png"
LEAST_GAIN, ENOUGH_LESS = 0.005, 0.4
"""How far an average's mAP may be below the best: this much, or this share of the best's gain."""
_CURVES = Kind("a picture", lambda path: True)  # every file in a run's folder counts as its own


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """The result of a run.

    Attributes:
        preset: the preset folder of the best model, or of the last one without validation images.
        history: one row per epoch: epoch, loss, accuracy, learning_rate, minutes and, with
            validation images, map, recall_at_1 and share_of_start, the share of the weights before
            training in the best average. Row 0 is the model before training.
        best_epoch: the epoch of the saved preset, counted from 1; 0 if no epoch was better than
            the model before training, which is then saved.
        skipped: name of each image that could not be read, and the reason.
        verdict: whether training helped, as a sentence if it is printed; None without validation
            images.
    """

    preset: Path
    history: list[dict[str, float]]
    best_epoch: int
    skipped: dict[str, str]
    verdict: Verdict | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields except `skipped`, for JSON."""
        return {
            "preset": str(self.preset),
            "best_epoch": self.best_epoch,
            "history": self.history,
            "verdict": self.verdict and self.verdict.to_dict(),
        }


def train(
    config: TrainingConfig,
    output: str | Path,
    *,
    relative_to: str | Path = ".",
    start: DOLG | None = None,
    say: Callable[[str], None] = print,
) -> TrainingResult:
    """Train a model, and write it as a preset folder.

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
        start: a model to begin with, instead of the one in [model]; it does not change.
        say: called with each line about the progress of the run.

    Raises:
        TrainingConfigError: if the configuration does not fit the data, the model or the machine.
        DataError: if there is nothing to train on, or most images cannot be read.
        DivergedError: if the loss is not finite; the previous checkpoint is kept.
        WorkerLostError: if another worker stops.
        OutputError: if the folder holds files that belong to no training run.
        OSError: at the end, if the last preset or checkpoint could not be written.
    """
    output = check_output(output, RUN)
    with naming_lost_workers():
        training = _Training(Run(config, relative_to, start), output, say)
        try:
            return training.train()
        except KeyboardInterrupt:
            raise KeyboardInterrupt(training.how_to_continue()) from None


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
        self.best_epoch = 0
        self.start: Scores | None = None
        self.trained: Scores | None = None  # scores of the best epoch and average
        self.default: Scores | None = None
        self.skipped: dict[str, str] = {}
        self.unwritten: dict[str, OSError] = {}

    def train(self) -> TrainingResult:
        self._restore()
        if not self.history and len(self.run.validation):
            self._validate_start()
        has_trained = False
        per_epoch, steps = self.run.steps_per_epoch, self.run.epochs * self.run.steps_per_epoch
        while self.step < steps and not self._is_over():
            epoch, begin = self.step // per_epoch, time.monotonic()
            self._take_steps(epoch, (epoch + 1) * per_epoch)
            metrics = self.run.classifier.get_metrics_result()
            self.run.classifier.reset_metrics()
            self._end_of_epoch(
                {
                    "epoch": epoch + 1,
                    **{name: float(value) for name, value in metrics.items()},
                    "learning_rate": last_rate(self.run.classifier.optimizer),
                    "minutes": round((time.monotonic() - begin) / 60, 2),
                }
            )
            self._save()
            has_trained = True
        verdict = self._verdict()
        if verdict:
            if has_trained and self.best_epoch == 0:  # it was written before the verdict
                with self.run.average.used(1.0):
                    self._write("preset", lambda: self._write_preset(self.history[0]))
            self.say(str(verdict))
        if self.unwritten:
            (what, error), *_ = self.unwritten.items()
            raise OSError(
                f"The {what} could not be written: {error}. Free some disk space; the same call"
                f" then continues from the last checkpoint, {self.checkpoints.last() or 'none'}."
            ) from error
        preset = self.output / TRAINED
        return TrainingResult(preset, self.history, self.best_epoch, self.skipped, verdict)

    def how_to_continue(self) -> str:
        """Return what to do after an interruption."""
        if (last := self.checkpoints.last()) is None:
            return "There is no checkpoint yet: the same call starts again."
        return f"The same call continues from the checkpoint {last}."

    def _restore(self) -> None:
        restored = self.checkpoints.restore()
        if restored:
            self.step, progress = restored
            self.history, self.best_epoch = progress["history"], progress["best_epoch"]
            self.skipped = progress["skipped"]
            for name in ("start", "trained", "default"):
                setattr(self, name, progress[name] and Scores(**progress[name]))
            epochs = self.step / self.run.steps_per_epoch
            self.say(
                f"The run in {str(self.output)!r} is finished, after {epochs:g} epochs. Give more"
                " epochs (--epochs) to lengthen it, or another folder to start again."
                if epochs >= self.run.epochs
                else f"Continuing from step {self.step}, after {epochs:.3g} of {self.run.epochs}"
                " epochs."
            )
        chiefs = from_chief(self.run.strategy, self.step)
        if chiefs != self.step:
            raise TrainingConfigError(
                f"Worker {self.run.rank} found the checkpoint of step {self.step} in {self.output},"
                f" and worker 0 that of step {chiefs:.0f}: all workers must share the output"
                " folder."
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

    def _validate_start(self) -> None:
        """Score the model before training, and save it as the best so far."""
        self.start = validate(self.run.model, self.run.validation)
        if seen := seen_before(self.run.model, self.run.validation.class_names):
            self.say(
                f"Warning: the model before training has learned {len(seen)} classes with names of"
                f" classes to validate on ({', '.join(seen[:3])}{' …' if len(seen) > 3 else ''}),"
                " so it may know these images. Validate on others: --validate-on."
            )
        if self.is_chief and (default := embedder()).model_id != self.run.start_id:
            self.default = validate(default, self.run.validation, runtime=None)
        self._end_of_epoch({"epoch": 0})

    def _end_of_epoch(self, row: dict[str, float]) -> None:
        """Validate each average with the start, and save the best model if it is new."""
        shares = self.config.optimizer.shares_of_start
        share = shares[0]
        if row["epoch"] == 0:
            scores, share = self.start, 1.0
        elif len(self.run.validation):
            scores, share = self._best_average(shares)
        else:
            scores = None
        is_best = True
        if scores is not None:
            self.skipped.update(scores.skipped)
            # rounding may differ between hosts, but all must take the same decision
            row["map"] = from_chief(self.run.strategy, scores.map)
            row["recall_at_1"] = scores.recall_at_1
            is_best = row["map"] > max((r["map"] for r in self.history), default=-1.0)
            if row["epoch"]:
                row["share_of_start"] = share
                if self.trained is None or scores.map > self.trained.map:
                    self.trained = scores
        self.history.append(row)
        if is_best or "preset" in self.unwritten:
            self.best_epoch = int(row["epoch"])
            with self.run.average.used(share):
                self._write("preset", lambda: self._write_preset(row))
        self._write("history", lambda: self._write_history(row))
        self.say("  ".join(_in_words(name, value) for name, value in row.items()))

    def _best_average(self, shares: Sequence[float]) -> tuple[Scores, float]:
        """Return the first average that validates about as well as the best of them."""
        # Validation classes can gain while the model forgets others, and small differences are
        # chance. Images of trained classes gain by any training.
        scored = []
        for share in shares if self._has_new_classes() else shares[:1]:
            with self.run.average.used(share):
                scored.append((validate(self.run.model, self.run.validation), share))
        start = self.start.map if self.start else 0.0
        best = max(scores.map for scores, _ in scored)
        enough = max(start, best - max(LEAST_GAIN, ENOUGH_LESS * (best - start)))
        return next(pair for pair in scored if pair[0].map >= min(best, enough))

    def _verdict(self) -> Verdict | None:
        if self.start is None or self.trained is None:
            return None
        return Verdict.of(
            self.start,
            self.trained,
            self.default,
            trained_classes=int(np.count_nonzero(self.run.training.counts)),
            is_new=self._has_new_classes(),
        )

    def _has_new_classes(self) -> bool:
        """Return whether the classes to validate on are not trained on."""
        return not set(self.run.training.class_names) & set(self.run.validation.class_names)

    def _is_over(self) -> bool:
        patience = self.config.run.early_stop_epochs
        if not (patience and self.history and "map" in self.history[-1]):
            return False
        over = self.history[-1]["epoch"] - self.best_epoch >= patience
        if over:
            self.say(f"No better mAP for {patience} epochs: the run ends.")
        return over

    def _write(self, what: str, write: Callable[[], None]) -> None:
        """Write, and continue if the disk is full: the next write may find space again."""
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
        about = describe(self.config, self.run.training, row, self._verdict())
        before = self.run.model.metadata.get("trained_classes", [])
        about["trained_classes"] = sorted({*before, *about["trained_classes"]})
        self.run.classifier.save_to_preset(self.output / TRAINED, about)

    def _write_history(self, row: dict[str, float]) -> None:
        self.output.mkdir(parents=True, exist_ok=True)
        with replacing(self.output / HISTORY) as file:
            record = {"config": self.config.to_dict(), "history": self.history}
            file.write(json.dumps(record, indent=1).encode())
        save_figure(draw_curves(self.history), self.output / CURVES, kind=_CURVES)
        if self.config.run.tensorboard:
            with tf.summary.create_file_writer(str(self.output / TENSORBOARD)).as_default():
                for name, value in row.items():
                    tf.summary.scalar(name, value, step=int(row["epoch"]))

    def _save(self) -> None:
        scores = {name: getattr(self, name) for name in ("start", "trained", "default")}
        progress = {
            "history": self.history,
            "best_epoch": self.best_epoch,
            "skipped": self.skipped,
            **{name: value and dataclasses.asdict(value) for name, value in scores.items()},
        }
        self._write("checkpoint", lambda: self.checkpoints.save(self.step, progress))


def _in_words(name: str, value: float) -> str:
    is_share = name in ("map", "recall_at_1", "accuracy", "share_of_start")
    return f"{NAMES.get(name, name)} {percent(value) if is_share else f'{value:.4g}'}"

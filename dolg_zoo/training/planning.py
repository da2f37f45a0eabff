"""Estimate a run's time and memory from a few of its own steps."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from dolg_zoo.training.config import TrainingConfig
from dolg_zoo.training.setup import Run

WARM_UP, TIMED, EMBEDDED = 2, 4, 16
"""Numbers of untimed steps, of timed steps, and of images to time validation with."""


def plan(config: TrainingConfig, *, relative_to: str | Path = ".") -> dict[str, Any]:
    """Build a run and take a few of its steps, without writing anything.

    Args:
        config: the training configuration.
        relative_to: the folder that relative paths of [data] are relative to.

    Returns:
        The sizes of the run (images, classes, classes_of_one_image, validation_images, parameters,
        devices, epochs, steps_per_epoch, steps) and estimates for this machine: seconds_per_step,
        minutes of the whole run with validation, and peak memory_gib, of the GPU if there is one,
        else of the process; None on Windows without a GPU. The summary has the most important
        values in one sentence.

    Raises:
        TrainingConfigError, DataError: as in `train`.
    """
    run = Run(config, relative_to)
    steps = run.epochs * run.steps_per_epoch
    seconds = _seconds_per_step(run)
    validations = 1 + run.epochs * len(config.optimizer.shares_of_start)
    validation = len(run.validation) * _seconds_per_embedded(run)
    peak = _peak_bytes()
    minutes = (steps * seconds + validations * validation) / 60
    planned = {
        "images": len(run.training),
        "classes": run.training.num_classes,
        "classes_of_one_image": run.training.lone_classes,
        "validation_images": len(run.validation),
        "validation_classes": int(np.count_nonzero(run.validation.counts)),
        "parameters": run.classifier.count_params(),
        "devices": f"{run.strategy.num_replicas_in_sync} × {_device()}",
        "epochs": run.epochs,
        "steps_per_epoch": run.steps_per_epoch,
        "steps": steps,
        "seconds_per_step": round(seconds, 4),
        "minutes": round(minutes, 1),
        "memory_gib": None if peak is None else round(peak / 2**30, 2),
    }
    return planned | {"summary": _summary(planned)}


def _summary(planned: dict[str, Any]) -> str:
    memory, minutes = planned["memory_gib"], max(1, round(planned["minutes"]))
    return (
        "{images} images of {classes} classes to train on, {validation_images} of"
        " {validation_classes} to validate on: {epochs} epochs take about".format(**planned)
        + f" {minutes} minute{'s' if minutes > 1 else ''}"
        + (f" and {memory:.1f} GiB of memory." if memory is not None else ".")
    )


def _seconds_per_step(run: Run) -> float:
    run.thaw(run.epochs - 1)  # the last epoch trains the most variables
    times = []
    batches = run.distributed(run.batches(0, WARM_UP + TIMED))
    for _ in run.loop.run(batches, 0, WARM_UP + TIMED):
        np.asarray(run.classifier.optimizer.iterations)  # wait until the step is done
        times.append(time.monotonic())
    return (times[-1] - times[WARM_UP - 1]) / TIMED


def _seconds_per_embedded(run: Run) -> float:
    few = [run.validation.sources[i] for i in range(min(EMBEDDED, len(run.validation)))]
    if not few:
        return 0.0
    for _ in range(2):  # the first call also builds the graph
        begin = time.monotonic()
        list(run.model.embed_each(few, runtime="keras"))
    return (time.monotonic() - begin) / len(few)


def _device() -> str:
    return "GPU" if tf.config.list_physical_devices("GPU") else "CPU"


def _peak_bytes() -> int | None:
    if _device() == "GPU":
        return tf.config.experimental.get_memory_info("GPU:0")["peak"]
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

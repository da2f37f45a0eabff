"""One device, several GPUs of one host, or several hosts: TensorFlow's own strategies."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dolg_zoo.errors import TrainingConfigError
from dolg_zoo.errors import WorkerLostError as WorkerLostError


def choose_strategy() -> tf.distribute.Strategy:
    """Return the strategy for all workers in TF_CONFIG, else all GPUs here, else one device."""
    if worker_count() > 1:
        return tf.distribute.MultiWorkerMirroredStrategy()
    if len(tf.config.list_physical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def worker_count() -> int:
    """Return the number of processes that TF_CONFIG names; 1 without it."""
    return max(1, len(_tf_config().get("cluster", {}).get("worker", [])))


def worker_rank() -> int:
    """Return this worker's rank from 0; worker 0 writes the files."""
    return int(_tf_config().get("task", {}).get("index", 0))


def _tf_config() -> dict[str, Any]:
    text = os.environ.get("TF_CONFIG") or "{}"
    try:
        config = json.loads(text)
    except ValueError as error:
        raise TrainingConfigError(f"TF_CONFIG must be JSON, got {text!r}.") from error
    if not isinstance(config, dict):
        raise TrainingConfigError(f"TF_CONFIG must be a JSON object, got {text!r}.")
    return config


def share_batch_statistics(model: keras.Model) -> None:
    """Make batch norms use the statistics of the joint batch, as on one device."""
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True


def from_chief(strategy: tf.distribute.Strategy, value: float) -> float:
    """Return worker 0's value; all workers must call this at the same point."""
    if worker_count() == 1:
        return value
    own = strategy.run(lambda: tf.constant([value], tf.float64))
    return float(strategy.gather(own, axis=0)[0])


@contextmanager
def naming_lost_workers() -> Iterator[None]:
    """Turn TensorFlow's errors about a stopped worker into a `WorkerLostError`."""
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.InternalError) as error:
        if worker_count() == 1:
            raise
        raise WorkerLostError(
            "Another worker has stopped, or cannot be reached any more. Start all workers again"
            f" with the same command: they continue from the last checkpoint. ({error.message})"
        ) from error


class DistributedBatches:
    """This worker's batches in the form that the strategy's `run` takes."""

    # TrainingConfigError: its devices cannot share a batch of `local_batch` images evenly

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        batches: Iterable[tuple[np.ndarray, np.ndarray]],
        image_size: int,
        local_batch: int,
    ) -> None:
        self._error: Exception | None = None
        replicas = strategy.num_replicas_in_sync // worker_count()
        if local_batch % replicas:
            raise TrainingConfigError(
                f"[run] batch_size gives this worker {local_batch} images, which its {replicas}"
                " devices cannot share evenly."
            )
        if strategy.num_replicas_in_sync == 1:
            self._batches = iter(batches)
            return
        signature = (
            tf.TensorSpec((None, image_size, image_size, 3), tf.uint8),
            tf.TensorSpec((None,), tf.int32),
        )
        dataset = tf.data.Dataset.from_generator(
            lambda: self._keeping_the_error(batches), output_signature=signature
        )
        dataset = dataset.rebatch(local_batch // replicas, drop_remainder=True)
        self._batches = iter(strategy.distribute_datasets_from_function(lambda _: dataset))

    def __iter__(self) -> Iterator[Any]:
        """Return the batches, in order."""
        return self

    def __next__(self) -> Any:
        """Return the next batch."""
        try:
            return next(self._batches)
        except Exception:
            if self._error is not None:
                raise self._error from None
            raise

    def _keeping_the_error(self, batches: Iterable[Any]) -> Iterator[Any]:
        # TensorFlow would replace the error by its own, with the traceback as text
        try:
            yield from batches
        except Exception as error:
            self._error = error
            raise

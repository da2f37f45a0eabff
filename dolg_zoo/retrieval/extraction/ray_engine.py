"""Embedding on Ray Data: by workers on one or many machines, each with the model.

Paths (or bytes of images without a path) go to the workers, descriptors come back. They travel in
numbered chunks, so that a lost or doubled one is noticed.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Generator, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from dolg_zoo.errors import RayError
from dolg_zoo.retrieval.extraction.pending import Pending, Result, embed_here
from dolg_zoo.retrieval.extraction.ray_cluster import check_ray, cluster

if TYPE_CHECKING:
    from ray import ObjectRef

    from dolg_zoo.embedders.dolg import DOLG

CHUNK_BATCHES = 8
"""Batches in a chunk: the more, the fuller they are where images differ in size, and the more is
done again when a worker dies."""

CHUNK_RETRIES = 3
WORKER_RESTARTS = 20


def embed_on_ray(
    model: DOLG,
    items: Pending,
    *,
    batch_size: int,
    scales: Sequence[float] | None,
    workers: int | None = None,
) -> Iterator[Result]:
    """Embed on the cluster at RAY_ADDRESS, or on this machine; yield results in any order."""
    # `items` is iterated in a worker, so no image passes through this process. A dead worker is
    # replaced and its chunk repeated. RayError: Ray is missing, the cluster is out of reach or too
    # small, or workers fail repeatedly. `workers` None: one per GPU, or per machine without GPUs.
    check_ray()
    with cluster() as (cpus, gpus, machines):
        import ray

        workers = workers or gpus or machines
        if workers > (gpus or cpus):
            raise RayError(
                f"There are {gpus} GPUs and {cpus} CPUs for {workers} workers, each of which needs"
                f" one of the {'GPUs' if gpus else 'CPUs'}."
            )
        settings = {
            "model_id": model.model_id,
            # Keras: workers may have GPUs, and share the cores of a machine
            "embed": {"batch_size": batch_size, "scales": scales, "runtime": "keras"},
            # workers on one machine would each take all of it
            "threads": 0 if gpus else max(1, cpus // workers),
        }
        sent = ray.put(pickle.dumps(model))  # held here, for workers that come later
        rows = _handed_out(sent, items, settings, workers, 1 if gpus else 0)
        end = yield from _taken_in(rows)
        items.faults, items.gone = end["faults"], end["gone"]


def _handed_out(
    model: ObjectRef, items: Pending, settings: dict[str, Any], workers: int, gpus_each: int
) -> Iterator[dict[str, Any]]:
    """Yield the results of the workers, in rows of a number and a pickled chunk."""
    import ray

    size = CHUNK_BATCHES * settings["embed"]["batch_size"]

    def read(_: Any) -> Iterator[dict[str, Any]]:
        rest, number = iter(items), 0
        while chunk := list(islice(rest, size)):
            yield _row(number, chunk)
            number += 1
        yield _row(number, {"faults": items.faults, "gone": items.gone})  # that was all

    with warnings.catch_warnings():
        # Ray 2.64 is to take max_restarts and max_task_retries away
        warnings.filterwarnings("ignore", message=".*ray_remote_args")
        dataset = (
            ray.data.from_items([0])
            .map_batches(read, batch_size=1, num_cpus=0)  # the workers may have taken all CPUs
            .map_batches(
                _Worker,
                fn_constructor_args=(model, settings),
                compute=ray.data.ActorPoolStrategy(size=workers),
                batch_size=1,
                num_cpus=1,
                num_gpus=gpus_each,
                scheduling_strategy="SPREAD",
                max_restarts=WORKER_RESTARTS,
                max_task_retries=CHUNK_RETRIES,
            )
        )
    dataset.context.target_max_block_size = 1  # one row: a block is what a worker is given
    dataset.context.enable_progress_bars = False
    dataset.context.print_on_execution_start = False
    return iter(dataset.iter_rows())


def _taken_in(rows: Iterator[dict[str, Any]]) -> Generator[Result, None, dict[str, Any]]:
    """Yield the content of the rows, and return the last of them."""
    seen: set[int] = set()
    end, last = None, {}
    while True:
        try:
            row = next(rows, None)
        except Exception as error:
            raise RayError(
                f"Ray gave up after {len(seen)} chunks of images, which are kept:"
                f" {_reason(error)}. If the workers were killed, they may need more memory: start"
                " fewer of them, or take smaller batches."
            ) from error
        if row is None:
            break
        number, found = int(row["number"]), pickle.loads(row["content"])
        if number not in seen:
            seen.add(number)
            if isinstance(found, dict):
                end, last = number, found
            else:
                yield from found
    if end is None or len(seen) != end + 1:
        raise RayError(
            f"Ray brought back {len(seen)} chunks of images and lost others; run it again for"
            " what is missing."
        )
    return last


def _reason(error: BaseException) -> str:
    """Return the last line of an error that Ray has wrapped, where the reason is."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else ''}".rstrip(".: ")


def _row(number: int, content: object) -> dict[str, Any]:
    data = np.empty(1, object)  # as an array of bytes it would lose its last zeros
    data[0] = pickle.dumps(content)
    return {"number": np.array([number]), "content": data}


class _Worker:
    """The model in a process of its own, which embeds chunk after chunk."""

    def __init__(self, model: ObjectRef, settings: dict[str, Any]) -> None:
        import ray
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(settings["threads"])
        self._model: DOLG = pickle.loads(ray.get(model))
        self._options = settings["embed"]
        if (found := self._model.model_id) != settings["model_id"]:
            raise RayError(
                f"The model arrived as {found} and was {settings['model_id']}; every machine needs"
                " the same versions of dolg-zoo and Keras."
            )

    def __call__(self, row: dict[str, np.ndarray]) -> dict[str, Any]:
        number, chunk = int(row["number"][0]), pickle.loads(row["content"][0])
        if isinstance(chunk, dict):
            return _row(number, chunk)
        return _row(number, list(embed_here(self._model, chunk, **self._options)))

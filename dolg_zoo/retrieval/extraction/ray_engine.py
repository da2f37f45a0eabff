"""Embedding on Ray Data: by workers on one or many machines, each with the model.

Paths (or bytes of images without a path) go to the workers, descriptors come back. They travel in
numbered chunks, so that a lost or doubled one is noticed.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from dolg_zoo._util.modules import is_installed
from dolg_zoo.errors import RayError
from dolg_zoo.retrieval.extraction.pending import Pending, Result, embed_here

if TYPE_CHECKING:
    from ray import ObjectRef

    from dolg_zoo.embedders.dolg import DOLG

CHUNK_BATCHES = 8
"""Batches in a chunk: the more, the fuller they are where images differ in size, and the more is
done again when a worker dies."""

CHUNK_RETRIES = 3
WORKER_RESTARTS = 20
KNOCK_S = 30


def check_ray() -> None:
    """Raise RayError if Ray Data is not installed: to be asked before the long work begins."""
    if not (is_installed("ray") and is_installed("pyarrow")):
        raise RayError(
            'The engine "ray" needs Ray Data, which is not installed: pip install "dolg-zoo[ray]"'
        )


def leave_gpus_to_workers() -> None:
    """Keep TensorFlow in this process off the GPUs' memory; call it before a model is made."""
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")


@contextmanager
def _cluster() -> Iterator[tuple[int, int, int]]:
    """Give the CPUs, GPUs and machines of a cluster; stop it at the end if it was started here."""
    ours = not os.environ.get("RAY_ADDRESS")
    if ours:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # else it warns of what is taken care of; its logs are in /tmp/ray
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    joined = ray.is_initialized()
    if not joined:
        try:
            if not ours:
                _knock(os.environ["RAY_ADDRESS"])
            ray.init(
                "local" if ours else None,  # None is what RAY_ADDRESS says
                log_to_driver=False,
                logging_level=logging.ERROR,
                **({"include_dashboard": False} if ours else {}),
            )
        except Exception as error:  # of half a dozen types
            if ours:
                raise RayError(f"Ray could not be started on this machine: {error}") from error
            raise RayError(
                f"The Ray cluster at RAY_ADDRESS={os.environ['RAY_ADDRESS']!r} could not be"
                f" reached: {error}. If it wants a token, set RAY_AUTH_MODE=token and"
                " RAY_AUTH_TOKEN."
            ) from error
    try:
        given = ray.cluster_resources()
        machines = sum(node["Alive"] for node in ray.nodes())
        yield int(given.get("CPU", 0)), int(given.get("GPU", 0)), machines
    finally:
        if not joined:
            ray.shutdown()


def _knock(address: str) -> None:
    """Raise OSError if nothing listens there, which Ray takes many minutes to say."""
    host, _, port = address.rpartition(":")
    if port.isdecimal() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_S).close()


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
    with _cluster() as (cpus, gpus, machines):
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

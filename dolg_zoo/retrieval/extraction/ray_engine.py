"""Embedding with Ray Data: workers on one or many machines, each with the model.

Workers get paths (or bytes of images without a path) and return descriptors. Both travel in
numbered chunks, so that a lost or repeated chunk is noticed.
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
"""Batches in a chunk. A larger chunk fills batches better if image sizes differ, but more work is
repeated when a worker dies."""

CHUNK_RETRIES = 3
WORKER_RESTARTS = 20
CONNECT_S = 30


def check_ray() -> None:
    """Raise RayError if Ray Data is not installed; call it before the long work begins."""
    if not (is_installed("ray") and is_installed("pyarrow")):
        raise RayError(
            'The engine "ray" needs Ray Data, which is not installed: pip install "dolg-zoo[ray]"'
        )


def leave_gpus_to_workers() -> None:
    """Keep TensorFlow in this process from using the GPUs; call it before a model is made."""
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")


@contextmanager
def _cluster() -> Iterator[tuple[int, int, int]]:
    """Yield the numbers of CPUs, GPUs and machines; stop the cluster if it was started here."""
    is_local = not os.environ.get("RAY_ADDRESS")
    if is_local:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Ray's other messages are about faults that are handled here; its logs are in /tmp/ray.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    joined = ray.is_initialized()
    if not joined:
        try:
            if not is_local:
                _check_address(os.environ["RAY_ADDRESS"])
            ray.init(
                "local" if is_local else None,  # None: the address in RAY_ADDRESS
                log_to_driver=False,
                logging_level=logging.ERROR,
                **({"include_dashboard": False} if is_local else {}),
            )
        except Exception as error:  # Ray raises half a dozen types
            if is_local:
                raise RayError(f"Ray could not be started on this machine: {error}") from error
            raise RayError(
                f"The Ray cluster at RAY_ADDRESS={os.environ['RAY_ADDRESS']!r} could not be"
                f" reached: {error}. If it needs a token, set RAY_AUTH_MODE=token and"
                " RAY_AUTH_TOKEN."
            ) from error
    try:
        resources = ray.cluster_resources()
        machines = sum(node["Alive"] for node in ray.nodes())
        yield int(resources.get("CPU", 0)), int(resources.get("GPU", 0)), machines
    finally:
        if not joined:
            ray.shutdown()


def _check_address(address: str) -> None:
    """Raise OSError if nothing listens at the address; Ray needs many minutes to notice."""
    host, _, port = address.rpartition(":")
    if port.isdecimal() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()


def embed_on_ray(
    model: DOLG,
    items: Pending,
    *,
    batch_size: int,
    scales: Sequence[float] | None,
    workers: int | None = None,
) -> Iterator[Result]:
    """Embed on the cluster at RAY_ADDRESS, or on this machine; yield results in any order."""
    # A worker iterates over `items`, so no image passes through this process. A dead worker is
    # replaced and its chunk repeated. RayError: Ray is missing, the cluster cannot be reached or is
    # too small, or workers fail repeatedly. `workers` None: one per GPU, or per machine without.
    with _cluster() as (cpus, gpus, machines):
        import ray

        workers = workers or gpus or machines
        if workers > (gpus or cpus):
            raise RayError(
                f"The cluster has {gpus} GPUs and {cpus} CPUs, too few for {workers} workers: each"
                f" needs one {'GPU' if gpus else 'CPU'}. Ask for fewer workers."
            )
        settings = {
            "model_id": model.model_id,
            # Keras can use a worker's GPU, and its number of threads can be limited.
            "embed": {"batch_size": batch_size, "scales": scales, "runtime": "keras"},
            # Without a limit, each worker would use all cores of its machine.
            "threads": 0 if gpus else max(1, cpus // workers),
        }
        model_ref = ray.put(pickle.dumps(model))  # a reference: later workers need it too
        rows = _worker_results(model_ref, items, settings, workers, 1 if gpus else 0)
        end = yield from _unpacked(rows)
        items.faults, items.gone = end["faults"], end["gone"]


def _worker_results(
    model: ObjectRef, items: Pending, settings: dict[str, Any], workers: int, gpus_each: int
) -> Iterator[dict[str, Any]]:
    """Yield the workers' results: rows with a number and a pickled chunk."""
    import ray

    size = CHUNK_BATCHES * settings["embed"]["batch_size"]

    def read(_: Any) -> Iterator[dict[str, Any]]:
        rest, number = iter(items), 0
        while chunk := list(islice(rest, size)):
            yield _row(number, chunk)
            number += 1
        yield _row(number, {"faults": items.faults, "gone": items.gone})  # marks the end

    with warnings.catch_warnings():
        # Ray 2.64 will remove max_restarts and max_task_retries.
        warnings.filterwarnings("ignore", message=".*ray_remote_args")
        dataset = (
            ray.data.from_items([0])
            .map_batches(read, batch_size=1, num_cpus=0)  # the workers may use all CPUs
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
    dataset.context.target_max_block_size = 1  # one row in a block, one block for a worker
    dataset.context.enable_progress_bars = False
    dataset.context.print_on_execution_start = False
    return iter(dataset.iter_rows())


def _unpacked(rows: Iterator[dict[str, Any]]) -> Generator[Result, None, dict[str, Any]]:
    """Yield the results in the rows, and return the content of the end row."""
    seen: set[int] = set()
    end, last = None, {}
    while True:
        try:
            row = next(rows, None)
        except Exception as error:
            raise RayError(
                f"Ray gave up after {len(seen)} chunks of images, which are stored:"
                f" {_reason(error)}. If workers were killed, they may need more memory: start"
                " fewer workers, or take smaller batches."
            ) from error
        if row is None:
            break
        number, content = int(row["number"]), pickle.loads(row["content"])
        if number not in seen:
            seen.add(number)
            if isinstance(content, dict):
                end, last = number, content
            else:
                yield from content
    if end is None or len(seen) != end + 1:
        raise RayError(
            f"Ray returned {len(seen)} chunks of images and lost others. Run it again to embed the"
            " missing images."
        )
    return last


def _reason(error: BaseException) -> str:
    """Return the last line of an error that Ray has wrapped: it has the reason."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else ''}".rstrip(".: ")


def _row(number: int, content: object) -> dict[str, Any]:
    data = np.empty(1, object)  # an array of bytes would drop trailing zeros
    data[0] = pickle.dumps(content)
    return {"number": np.array([number]), "content": data}


class _Worker:
    """A worker process: it loads the model once and embeds chunk after chunk."""

    def __init__(self, model: ObjectRef, settings: dict[str, Any]) -> None:
        import ray
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(settings["threads"])
        self._model: DOLG = pickle.loads(ray.get(model))
        self._options = settings["embed"]
        if (model_id := self._model.model_id) != settings["model_id"]:
            raise RayError(
                f"The model has the id {model_id} on this worker and {settings['model_id']} where"
                " it was sent. Install the same versions of dolg-zoo and Keras on every machine."
            )

    def __call__(self, row: dict[str, np.ndarray]) -> dict[str, Any]:
        number, chunk = int(row["number"][0]), pickle.loads(row["content"][0])
        if isinstance(chunk, dict):
            return _row(number, chunk)
        return _row(number, list(embed_here(self._model, chunk, **self._options)))

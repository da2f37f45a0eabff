"""The Ray cluster that a run joins or starts. Ray is imported when one is asked for."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from dolg_zoo._util.modules import is_installed
from dolg_zoo.errors import RayError

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
def cluster() -> Iterator[tuple[int, int, int]]:
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

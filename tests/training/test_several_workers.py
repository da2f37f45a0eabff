"""Two processes that train together, against one with the joint batch."""

import json
import os
import signal
import socket

import numpy as np
import pytest
from small_run import config, start_training, weights_of

from dolg_zoo.training import train

pytestmark = pytest.mark.slow

PLAIN = {  # each replica draws its own; a crop is drawn for each image wherever it is made
    "augmentation": {"flip": False, "brightness": 0, "contrast": 0, "saturation": 0, "hue": 0},
    "optimizer": {"ema": 0.9},
    "run": {"epochs": 3, "backbone_batch_norm": "trained", "freeze_backbone_epochs": 1},
    "split": {"by": "none"},  # so that the preset is of the last step
}
STEPS = 7  # of an epoch


def free_ports(number):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def start_two(folder, output, kill_second_at=None):
    """Start two workers with one output folder."""
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    processes = []
    for rank, kill_at in enumerate((None, kill_second_at)):
        task = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": rank}}
        env = {**os.environ, "TF_CONFIG": json.dumps(task), "CUDA_VISIBLE_DEVICES": ""}
        processes.append(start_training(folder, output, PLAIN, kill_at, env))
    return processes


def test_if_one_dies_the_other_says_so_and_both_go_on_to_the_weights_of_one_with_the_joint_batch(
    folder, tmp_path
):
    together = tmp_path / "two"
    first, second = start_two(folder, together, kill_second_at=STEPS + 2)
    _, errors = first.communicate(timeout=300)
    assert "WorkerLostError: Another worker has stopped" in errors, errors[-3000:]
    second.communicate()
    assert second.returncode == -signal.SIGKILL
    processes = start_two(folder, together)
    for process in processes:
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors[-3000:]
        if process is processes[0]:
            assert output.startswith(f"Continuing from step {STEPS}, after 1 of 3 epochs.")
    one = train(config(folder, **PLAIN), tmp_path / "one", relative_to=folder, say=print)
    # of which the variances of pixels, 265 and more, ask for a relative tolerance
    for a, b in zip(weights_of(one.preset), weights_of(together / "preset"), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    two = json.loads((together / "history.json").read_text())["history"]
    assert len(two) == 3
    for row, other in zip(one.history, two, strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-4)

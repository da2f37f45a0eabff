"""Two processes that train together, against one with the joint batch."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from small_run import config, weights_of

from dolg_zoo.training import train

pytestmark = pytest.mark.slow  # a minute and a half

PLAIN = {  # each replica draws its own; a crop is drawn for each image wherever it is made
    "augmentation": {"flip": False, "brightness": 0, "contrast": 0, "saturation": 0, "hue": 0},
    "optimizer": {"ema": 0.9},
    "run": {"epochs": 3, "backbone_batch_norm": "trained", "freeze_backbone_epochs": 1},
    "split": {"by": "none"},  # so that the preset is of the last step
}

WORKER = """
    import json, os, sys
    from pathlib import Path
    sys.path.insert(0, {support!r})
    from small_run import config
    from dolg_zoo.training import train
    folder = Path({folder!r})
    train(config(folder, **json.loads({changes!r})), {output!r}, relative_to=folder)
"""


def free_ports(number):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def start(folder, outputs, support, changes):
    """Starts a worker for each output folder."""
    workers = [f"127.0.0.1:{port}" for port in free_ports(len(outputs))]
    processes = []
    for rank, output in enumerate(outputs):
        task = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": rank}}
        code = WORKER.format(
            support=support, folder=str(folder), changes=json.dumps(changes), output=str(output)
        )
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(code)],
                env={**os.environ, "TF_CONFIG": json.dumps(task), "CUDA_VISIBLE_DEVICES": ""},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return processes


@pytest.fixture
def support_folder(request):
    return str(request.path.parents[1] / "support")


def test_two_workers_end_with_the_weights_of_one_with_the_joint_batch(
    folder,
    tmp_path,
    support_folder,
):
    outputs = [tmp_path / "two"] * 2
    processes = start(folder, outputs, support_folder, PLAIN)
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors[-3000:]
    one = train(config(folder, **PLAIN), tmp_path / "one", relative_to=folder, say=print)
    # of which the variances of pixels, 265 and more, ask for a relative tolerance
    for a, b in zip(weights_of(one.preset), weights_of(tmp_path / "two" / "preset"), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    two = json.loads((tmp_path / "two" / "history.json").read_text())["history"]
    assert len(two) == 3  # of 7 steps each
    for row, other in zip(one.history, two, strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-4)


def test_if_one_dies_the_other_says_so_and_both_can_go_on(
    folder,
    tmp_path,
    support_folder,
):
    long = {**PLAIN, "run": {**PLAIN["run"], "epochs": 400}}
    outputs = [tmp_path / "two"] * 2
    processes = start(folder, outputs, support_folder, long)
    checkpoints, deadline = tmp_path / "two" / "checkpoints", time.monotonic() + 240
    while not list(checkpoints.glob("step_*")) and time.monotonic() < deadline:
        time.sleep(0.2)
    processes[1].send_signal(signal.SIGKILL)
    begin = time.monotonic()
    _, errors = processes[0].communicate(timeout=300)
    print(f"noticed after {time.monotonic() - begin:.1f} s")
    assert "WorkerLostError: Another worker has stopped" in errors, errors[-3000:]
    processes[1].communicate()
    assert list(checkpoints.glob("step_*"))
    again = start(folder, outputs, support_folder, long)
    line = again[0].stdout.readline()
    assert line.startswith("Going on from step ")
    for process in again:
        process.kill()
        process.communicate()

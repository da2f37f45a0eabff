import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import run_in_forks

from dolg_zoo.weights import CheckpointError, read_state_dict

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def handmade():
    """The pieces that checkpoint files can be put together from."""
    return SimpleNamespace(**runpy.run_path(str(HERE / "handmade.py")))


@pytest.fixture
def read(tmp_path):
    """Reads a file of some bytes."""

    def read_bytes(data):
        path = tmp_path / "checkpoint.pt"
        path.write_bytes(data)
        return read_state_dict(path)

    return read_bytes


@pytest.fixture
def refusal(read):
    """Returns the message with which some bytes are refused."""

    def message_for(data):
        with pytest.raises(CheckpointError) as caught:
            read(data)
        assert "checkpoint.pt" in str(caught.value)
        return str(caught.value)

    return message_for


@pytest.fixture(scope="session")
def run_script():
    """Runs a script of this folder in a process of its own, and returns what it prints."""

    def run(name, *arguments):
        command = [sys.executable, str(HERE / name), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    return run


@pytest.fixture(scope="session")
def read_within():
    """Runs read_within.py on a file in a process of its own, and returns what it prints."""

    def read(path):
        done = run_in_forks.run([HERE / "read_within.py", path], dict(os.environ), timeout=300)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    return read

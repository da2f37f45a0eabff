import json
import os
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def shared():
    """The folder beside the checkout with golden outputs and photographs."""
    if not SHARED.is_dir():
        pytest.skip("needs the folder ../shared beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def golden(shared):
    """Outputs of the upstream code by name, and the rules their parameters and images follow."""
    folder = shared / "golden"
    rules = runpy.run_path(str(folder / "fill.py"))
    return SimpleNamespace(
        read=lambda name: json.loads((folder / f"{name}.json").read_text()),
        fill=rules["fill"],
        image=rules["image"],
    )

import importlib.util
import json
import os
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


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


@pytest.fixture(scope="session")
def load_tool():
    """Imports a script of tools/ by its name."""

    def load(name):
        spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load

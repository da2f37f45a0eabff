import importlib

import pytest
from small_run import write_data


@pytest.fixture(autouse=True)
def no_curves(monkeypatch):
    """Curves take a second to draw and are redrawn at each epoch; `unbroken` draws them."""
    module = importlib.import_module("dolg_zoo.training.run")
    monkeypatch.setattr(module, "save_figure", lambda *given, **options: None)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Photographs of five classes and a preset to train: see small_run."""
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)
    return folder

import pytest
from small_run import default_model, skip_what_takes_longest, write_data


@pytest.fixture(scope="session", autouse=True)
def _default_model():
    default_model()  # sets Keras' seed, and so before the tests do


@pytest.fixture(autouse=True)
def quick_runs(monkeypatch):
    """But for the run `unbroken`, which draws curves and scores the default preset."""
    skip_what_takes_longest(monkeypatch.setattr)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Photographs of five classes and a preset to train: see small_run."""
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)
    return folder

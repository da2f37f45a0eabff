import pytest
from small_run import write_data


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Photographs of five classes and a preset to train: see small_run."""
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)
    return folder

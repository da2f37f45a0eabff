import pytest


@pytest.fixture(autouse=True)
def cache_dir(tmp_path, monkeypatch):
    """The cache folder: never the user's own."""
    monkeypatch.setenv("DOLG_ZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"

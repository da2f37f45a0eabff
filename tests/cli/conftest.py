import sys
from functools import cache
from types import SimpleNamespace

import pytest


@pytest.fixture(autouse=True)
def cache_dir(tmp_path, monkeypatch):
    """The cache folder: never the user's own."""
    monkeypatch.setenv("DOLG_ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DOLG_DEBUG", "")
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def from_preset_once():
    from dolg_zoo import DOLG

    return cache(DOLG.from_preset)


@pytest.fixture
def dolg(monkeypatch, capsys, from_preset_once):
    """Runs the command in this process; each preset is loaded once for all tests."""
    from dolg_zoo import DOLG
    from dolg_zoo.cli import main

    monkeypatch.setattr(DOLG, "from_preset", from_preset_once)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["dolg", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return SimpleNamespace(code=end.value.code, out=out, err=err)

    return run

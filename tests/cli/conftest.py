import json
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
def embedded_model(model):
    """In place of the preset that ships: its name and metadata, and a network of few layers.

    A command does the same with any network. tests/cli/test_startup.py, tests/test_demo.py and the
    README's first commands run on the real one.
    """
    from dolg_zoo import DOLG
    from dolg_zoo.presets.registry import DEFAULT_PRESET, resolve_preset

    folder = resolve_preset().folder
    metadata = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
    return DOLG(model.net, model.image_converter, {**metadata, "preset": DEFAULT_PRESET})


@pytest.fixture(scope="session")
def from_preset_once(embedded_model):
    from dolg_zoo import DOLG

    load = cache(DOLG.from_preset)

    def from_preset(preset=None):
        name = getattr(preset, "name", preset)  # a command resolves the name first
        is_default = name in (None, embedded_model.metadata["preset"])
        return embedded_model if is_default else load(preset)

    return from_preset


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

"""Where words have two readings, what exists is taken, and the command says which."""

import json
import shutil

import pytest

from dolg_zoo.presets import (
    DEFAULT_PRESET,
    load_margin_head,
    preset_names,
    registry,
    resolve_preset,
)
from dolg_zoo.presets.registry import find_preset, of_the_zoo

OTHER = next(name for name in preset_names() if name != DEFAULT_PRESET)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    registry._warn_of_folder.cache_clear()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_preset_folder_is_taken_before_the_name(here, caplog):
    shutil.copytree(resolve_preset().folder, here / OTHER)
    for _ in range(2):
        assert resolve_preset(OTHER).folder.samefile(here / OTHER)
    assert resolve_preset(OTHER).name == f"./{OTHER}"
    assert caplog.text.count("the folder here is taken") == 1
    assert find_preset(of_the_zoo(OTHER)).name == OTHER


@pytest.mark.parametrize("made", ["folder", "file"])
def test_what_holds_no_preset_is_none(here, made, caplog):
    (here / OTHER).mkdir() if made == "folder" else (here / OTHER).touch()
    assert find_preset(OTHER).name == OTHER
    assert ("holds no preset" in caplog.text) == (made == "folder")


def test_the_default_and_the_names_in_metadata_are_those_of_the_zoo(here):
    (here / DEFAULT_PRESET).mkdir()
    (here / DEFAULT_PRESET / "config.json").write_text("{}")
    assert resolve_preset().name == DEFAULT_PRESET
    with pytest.raises(Exception, match="margin head"):
        load_margin_head(DEFAULT_PRESET)


def test_a_query_in_the_searched_folder_or_here(dolg, photos, here):
    found = dolg("search", photos, "-q", "rocket.png", "--json")
    assert json.loads(found.out)["matches"][0]["name"] == "rocket.png"
    assert f"The query is {str(photos / 'rocket.png')!r}." in found.err
    shutil.copy(photos / "coffee.png", here / "rocket.png")
    found = dolg("search", photos, "-q", "rocket.png", "--json")
    assert json.loads(found.out)["matches"][0]["name"] == "coffee.png"
    assert f"The query is 'rocket.png', and not {str(photos / 'rocket.png')!r}." in found.err
    assert "The query is" not in dolg("search", photos, "-q", photos / "rocket.png").err


def test_an_index_that_holds_images_and_a_foreign_index_json(dolg, photos, here):
    assert dolg("index", photos, "-o", here / "index").code == 0
    shutil.copy(photos / "rocket.png", here / "index" / "rocket.png")
    found = dolg("search", here / "index", "-q", photos / "rocket.png")
    assert "is an index and also holds images: the index is used" in found.err
    (photos / "index.json").write_text('{"pages": []}')
    found = dolg("search", photos, "-q", photos / "rocket.png")
    assert found.code == 0 and "in the index" not in found.err


def test_patterns_lists_and_brackets_in_the_shell(dolg, photos, here):
    shutil.copytree(photos, here / "a[1]*")
    (here / "list.csv").write_text("image\na[1]*/rocket.png\na[1]*/coffee.png\n")
    for where, count in (("a[1]*", 4), ("a[[]1]*/*.png", 3), ("list.csv", 2)):
        found = dolg("search", where, "-q", photos / "rocket.png", "--json")
        assert json.loads(found.out)["images"] == count, where
        assert json.loads(dolg("dedupe", where, "--json").out)["images"] == count
    several = dolg("search", photos, "-q", "a[[]1]*/r*.png", "-q", "list.csv", "--json")
    assert len(json.loads(several.out)["results"]) == 3

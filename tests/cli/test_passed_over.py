"""Every command that reads a folder says what it passed over, in one line and one field."""

import json
import shutil
import sys

import pytest
from PIL import Image
from plain_embedder import PlainEmbedder

from dolg_zoo.retrieval import Index, montage

LINE = (
    "3 other files passed over: 2 .nef, 1 .psd; pictures made by dolg-zoo passed over: 1; folders"
    " made by dolg-zoo passed over: 'old.index'; left out, with any image in it: 'nas' (the link"
)
FIELD = {
    "files": {".nef": 2, ".psd": 1},
    "own_pictures": 1,
    "own_folders": ["old.index"],
    "folders": {"nas": "the link leads nowhere"},
}


@pytest.fixture
def folder(photos):
    for name in ("a.NEF", "b.nef", "c.psd"):
        (photos / name).write_bytes(b"II*\0" + bytes(100))
    (photos / "nas").symlink_to(photos.parent / "absent")
    shutil.copytree(photos / "far", photos / "near")
    montage(photos / "coffee.png", [], photos / "found.png")
    Index.build(PlainEmbedder(), photos).save(photos / "old.index")
    with Image.open(photos / "far/chelsea.png") as image:
        for angle, name in enumerate(("far/2.png", "near/2.png"), 1):
            image.rotate(angle).save(photos / name)
    return photos


COMMANDS = {
    "search": ("search", "{folder}", "-q", "{folder}/coffee.png"),
    "dedupe": ("dedupe", "{folder}"),
    "map": ("map", "{folder}", "-o", "{out}.png"),
    "index": ("index", "{folder}", "-o", "{out}"),
    "embed": ("embed", "{folder}", "-o", "{out}"),
    "embed to a file": ("embed", "{folder}", "-o", "{out}.npz"),
    "evaluate": ("evaluate", "folder", "{folder}"),
    "demo": ("demo", "{folder}"),
    "whiten": ("whiten", "{folder}", "-o", "{out}", "--dim", "2"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_passed_over_is_said_once(dolg, folder, tmp_path, command):
    arguments = [each.format(folder=folder, out=tmp_path / "out") for each in COMMANDS[command]]
    done = dolg(*arguments, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["passed_over"] == FIELD
    assert done.err.count(LINE) == 1


def test_an_update_says_it_too_and_a_search_of_the_index_does_not(dolg, folder, tmp_path):
    for more in ([], ["--update"]):
        done = dolg("index", folder, "-o", tmp_path / "out", "--json", *more)
        assert json.loads(done.out)["passed_over"] == FIELD and LINE in done.err
    assert LINE not in dolg("search", tmp_path / "out", "-q", folder / "coffee.png").err


OTHERS = ["serve {}", "export -o {}/served --format savedmodel --calibration {} --check {}/nowhere"]


@pytest.mark.parametrize("command", OTHERS)
def test_it_is_said_before_the_work_where_nothing_is_printed_after_it(
    dolg, folder, monkeypatch, command
):
    monkeypatch.setattr("dolg_zoo.cli.serve.is_installed", lambda name: True)
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert dolg(*command.replace("{}", str(folder)).split()).err.count(LINE) == 1

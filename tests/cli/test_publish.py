import json
import shutil
import sys
from pathlib import Path

import pytest
import typer
from fake_hub import TOKEN
from PIL import Image
from small_model import STATED, small_model

from dolg_zoo.cli.publish import publish
from dolg_zoo.cli.reporting import reporting_errors

PRESET = ["config.json", "metadata.json", "model.weights.h5", "preprocessor.json"]
OPTIONS = [part for key, value in STATED.items() for part in (f"--{key}", value)]


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Runs the command with what it makes on the way below `tmp_path`."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    app = typer.Typer()
    app.command()(reporting_errors(publish))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["publish", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            app()
        out, err = capsys.readouterr()
        return end.value.code, out, err

    return run


@pytest.fixture
def folder(tmp_path):
    small_model().save_to_preset(tmp_path / "preset")
    return tmp_path / "preset"


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.socket.connect", refuse)


def test_a_dry_run_writes_the_page_and_the_picture(run, folder, no_network):
    code, out, err = run(folder, "me/toy", *OPTIONS, "--dry-run")
    assert code == 0, err
    (card,) = folder.parent.glob("dolg-publish-*/README.md")
    assert str(card) in out.replace("\n", "")
    assert STATED["description"] in card.read_text()
    assert Image.open(card.with_name("architecture.png")).width == 1760
    for name in [*PRESET, "README.md", "architecture.png"]:
        assert name in out


def test_a_dry_run_leaves_no_copy_of_the_weights(run, folder, no_network):
    run(folder, "me/toy", *OPTIONS, "--dry-run")
    assert list(folder.parent.rglob("*.h5")) == [folder / "model.weights.h5"]


def test_a_dry_run_as_json(run, folder, no_network, tmp_path):
    about = tmp_path / "about.json"
    about.write_text(json.dumps({**STATED, "limits": "All.", "dataset": "overridden"}))
    code, out, _ = run(
        folder, "me/toy", "--metadata", about, "--dataset", "toys", "--dry-run", "--json"
    )
    assert code == 0
    done = json.loads(out)
    sizes = {file["name"]: file["bytes"] for file in done["files"]}
    assert sizes["model.weights.h5"] == (folder / "model.weights.h5").stat().st_size
    page = Path(done["card"]).read_text()
    assert "Trained on: toys" in page and "All." in page


def test_what_lacks_is_named_in_a_dry_run_too(run, folder, no_network):
    code, _, err = run(folder, "me/toy", "--license", "MIT", "--dry-run")
    assert code == 1
    assert "its description, dataset, provenance." in err and "--metadata" in err


def test_the_folder_of_a_training_run_is_published_by_its_preset(run, folder, no_network, tmp_path):
    shutil.copytree(folder, tmp_path / "my-places" / "preset")
    code, _, err = run(tmp_path / "my-places", "me/toy", *OPTIONS, "--dry-run")
    assert code == 0, err


@pytest.mark.parametrize("text", ["[]", "{"])
def test_a_metadata_file_that_is_none(run, folder, no_network, tmp_path, text):
    (tmp_path / "about.json").write_text(text)
    code, _, err = run(folder, "me/toy", "--metadata", tmp_path / "about.json", "--dry-run")
    assert code == 1
    assert "about.json" in err and "JSON" in err


def test_it_publishes_and_prints_the_entry(run, folder, logged_in):
    code, out, err = run(folder, "me/toy", *OPTIONS)
    assert code == 0, err
    commit = logged_in.repos["me/toy"].head[0]
    assert f'dolg_zoo.DOLG.from_preset("hf://me/toy@{commit}")' in out
    entry = json.loads(out[out.index("{") :])
    assert entry["source"] == {"repo": "me/toy", "revision": commit}
    assert entry["description"] == STATED["description"]
    assert "tools/pin_manifest.py NAME --entry entry.json" in err


def test_it_publishes_and_prints_json(run, folder, logged_in):
    code, out, _ = run(folder, "me/toy", *OPTIONS, "--private", "--message", "Hello", "--json")
    assert code == 0
    assert json.loads(out)["commit"] == logged_in.repos["me/toy"].head[0]
    assert logged_in.repos["me/toy"].private and logged_in.repos["me/toy"].messages[-1] == "Hello"


def test_a_failure_is_one_message(run, folder, logged_in):
    code, out, err = run(folder, "them/toy", *OPTIONS)
    assert (code, out) == (1, "")
    assert "dolg: them/toy: " in err and "Traceback" not in err and TOKEN not in err

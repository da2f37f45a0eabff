import importlib
import json
import re
import sys

import numpy as np
import pytest
import typer
from PIL import Image
from small_model import small_model

from dolg_zoo.cli.reporting import reporting_errors
from dolg_zoo.cli.train import train


@pytest.fixture(autouse=True)
def quick_runs(monkeypatch):
    """Without curves and the score of the default preset; tests/training looks at them."""
    module = importlib.import_module("dolg_zoo.training.run")
    monkeypatch.setattr(module, "save_figure", lambda *given, **options: None)
    monkeypatch.setattr(module, "embedder", small_model)


@pytest.fixture
def run(capsys, monkeypatch):
    app = typer.Typer()
    app.command()(reporting_errors(train))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["train", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            app()
        out, err = capsys.readouterr()
        return end.value.code, out, err

    return run


@pytest.fixture
def place(tmp_path, rng):
    """A preset, photographs of four classes, one of them bad, and a run.toml beside them."""
    small_model().save_to_preset(tmp_path / "preset")
    for label in "abcd":
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(3):
            pixels = rng.integers(0, 255, (40, 40, 3)).astype("uint8")
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{number}.png")
    (tmp_path / "photos" / "b" / "bad.png").write_bytes(b"no image")
    (tmp_path / "photos" / "b" / "raw.NEF").write_bytes(b"II*\0")
    (tmp_path / "run.toml").write_text(
        '[data]\nfolder = "photos"\n'
        f'[model]\npreset = "{tmp_path / "preset"}"\n'
        '[split]\nclasses = ["c", "d"]\n'
        "[run]\nepochs = 2\nbatch_size = 4\nimage_size = 32\n"
    )
    return tmp_path


def test_it_prints_the_preset_that_it_made_or_its_curve_and_names_bad_images(run, place, tmp_path):
    out = tmp_path / "out"
    code, printed, err = run(place / "run.toml", "-o", out)
    assert (code, printed.strip()) == (0, str(out / "preset"))
    assert (out / "preset" / "model.weights.h5").is_file()
    assert "1 could not be read:" in err and "bad.png" in err
    assert err.count("1 other file passed over: 1 .nef") == 1
    code, printed, _ = run(place / "run.toml", "-o", out, "--json")
    document = json.loads(printed)
    assert code == 0
    assert [row["epoch"] for row in document["history"]] == [0, 1, 2]
    assert document["best_epoch"] in (1, 2)
    assert [skipped["name"][-7:] for skipped in document["skipped"]] == ["bad.png"]


def test_a_dry_run_writes_nothing_and_tells_all_settings_and_what_it_takes(
    run, place, tmp_path, monkeypatch
):
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    code, printed, _ = run(place / "run.toml", "--dry-run")
    assert code == 0
    assert not list(empty.iterdir())
    told = dict(re.findall(r"^(\w+) +(\S.*)$", printed, re.MULTILINE))
    assert told["learning_rate"].strip() == "0.0005"
    assert told["steps"].strip() == "2"
    assert float(told["seconds_per_step"]) > 0
    assert np.isfinite(float(told["memory_gib"]))
    assert re.fullmatch(
        r"7 images of 2 classes to train on, 6 of 2 to validate on: 2 epochs take about 1 minute"
        r" and [\d.]+ GiB of memory\.",
        printed.splitlines()[-1],
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Give CONFIG, --data DIR, or both"),
        (["run.toml", "-p", "preset", "--architecture", "resnet18_v1"], "not both"),
    ],
)
def test_wrong_usage_is_told(run, place, monkeypatch, arguments, message):
    monkeypatch.chdir(place)
    code, _, err = run(*arguments)
    assert code == 2
    assert message in " ".join(err.replace("│", " ").split())


def test_options_come_before_the_file_and_the_rest_of_it_stays(run, place, tmp_path):
    (place / "photos").rename(tmp_path / "others")
    options = ["--data", tmp_path / "others", "-p", place / "preset", "--epochs", 3]
    code, out, err = run(place / "run.toml", *options, "--dry-run", "--json")
    assert err.count("1 other file passed over: 1 .nef") == 1
    assert code == 0, err
    config = json.loads(out)["config"]
    assert config["data"] == {"folder": str(tmp_path / "others")}
    assert config["model"]["preset"] == str(place / "preset")
    assert config["run"]["epochs"] == 3
    assert config["split"]["classes"] == ["c", "d"]  # of the file


def test_an_error_in_the_file_names_file_table_and_key(run, place):
    (place / "run.toml").write_text('[data]\nfolder = "photos"\n[model]\npreset = 3\n')
    code, _, err = run(place / "run.toml")
    assert code == 1
    assert "run.toml: [model] preset must be of type str, got 3." in err


def test_a_folder_without_subfolders_is_an_error(run, place):
    code, _, err = run("--data", place / "photos" / "a", "-o", place / "out")
    assert code == 1
    assert "training needs a subfolder for each class" in err.replace("\n", " ")


def test_the_help_names_every_recipe(run):
    from dolg_zoo.training.recipes import recipe_names

    _, printed, _ = run("--help")
    assert all(name in printed for name in recipe_names())


def test_a_recipe_is_found_by_its_name(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = run("gldv2", "--dry-run")
    assert code == 1
    assert "gldv2/train_clean.csv" in err


def test_a_misspelt_recipe_is_named_with_the_nearest(run, tmp_path):
    code, _, err = run("small_networ", "--data", tmp_path)
    assert code == 1
    assert "no file and no recipe 'small_networ'. Did you mean 'small_network'?" in err


@pytest.mark.slow
def test_a_configuration_may_be_run_with_another_backbone(run, place):
    arguments = [place / "run.toml", "--architecture", "resnet18_v1", "--dry-run", "--json"]
    (place / "run.toml").write_text(
        (place / "run.toml").read_text().replace("[split]", 'backbone_weights = "random"\n[split]')
    )
    code, printed, err = run(*arguments)
    assert code == 0, err
    model = json.loads(printed)["config"]["model"]
    assert (model["preset"], model["architecture"]) == (None, "resnet18_v1")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run.toml", "--architecture", "nosuchnet"], 1, "nosuchnet"),
        (["--data", "photos", "--architecture", "efficientnet_b0"], 2, "needs CONFIG"),
    ],
)
def test_a_backbone_that_cannot_be_is_refused(run, place, monkeypatch, arguments, code, message):
    monkeypatch.chdir(place)
    exit_code, _, err = run(*arguments)
    assert exit_code == code and message in err


def test_a_list_is_trained_on_and_may_be_trusted_with_links(run, place, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (place / "photos").rename(elsewhere)
    rows = [f"{elsewhere}/{label}/{n}.png,{label}" for label in "abcd" for n in range(3)]
    (place / "photos.csv").write_text("\n".join(["image,label", *rows]))
    arguments = ["--data", place / "photos.csv", "-p", place / "preset", "--dry-run", "--json"]
    code, _, err = run(*arguments)
    assert code == 1 and "leads out of the folder" in err
    code, out, _ = run(*arguments, "--anywhere")
    assert code == 0 and json.loads(out)["config"]["data"]["anywhere"] is True

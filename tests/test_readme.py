"""Every block of the README is run, and the two set-up commands are those that CI runs."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from writable_hub import STATED, log_in, serving, small_model

from dolg_zoo.cli import main

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with photos/, query.jpg and a preset to publish, as the README assumes."""
    skimage_data = pytest.importorskip("skimage.data")
    from PIL import Image

    folder = tmp_path_factory.mktemp("readme")
    (folder / "photos").mkdir()
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        (path,) = Path(skimage_data.data_dir).glob(f"{name}.*")
        image = Image.open(path).convert("RGB")
        image.save(folder / "photos" / f"{name}.jpg")
    image.crop((40, 40, 400, 400)).save(folder / "query.jpg")  # of the rocket
    for name in ("chelsea", "coffee", "rocket", "astronaut"):
        (folder / "places" / name).mkdir(parents=True)
        for size in (64, 80, 96):
            image = Image.open(folder / "photos" / f"{name}.jpg").resize((size, size))
            image.save(folder / "places" / name / f"{size}.jpg")
    small_model().save_to_preset(folder / "my-places")
    (folder / "about.json").write_text(json.dumps(STATED))
    return folder


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Where the README publishes to."""
    with serving() as hub:
        log_in(hub, tmp_path, monkeypatch)
        yield hub


def test_the_python_blocks_run_one_after_another(
    place, official_stand_in, hub, monkeypatch, capsys
):
    monkeypatch.chdir(place)
    monkeypatch.setenv("DOLG_ZOO_CACHE", str(official_stand_in))
    namespace = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), namespace)
        if "for match in" in block:
            printed = capsys.readouterr().out.splitlines()
            assert printed[0].endswith("rocket.jpg") and len(printed) == 3
    assert (place / "my-dolg" / "model.weights.h5").is_file()
    assert namespace["model"].metadata["license"] == "CC-BY-4.0"  # that which was published


@pytest.mark.slow
def test_the_shell_commands_run(place, official_stand_in, monkeypatch, capfd):
    dolg = shutil.which("dolg", path=str(Path(sys.executable).parent))
    assert dolg, "the console script is not installed beside this Python"
    assert subprocess.run([dolg, "--help"], capture_output=True).returncode == 0
    # where the GLDv2 preset is cached, so that nothing is downloaded
    cache = shutil.copytree(official_stand_in, place / "cache")
    monkeypatch.setenv("DOLG_ZOO_CACHE", str(cache))
    monkeypatch.chdir(place)
    commands = [
        line.removeprefix("$ ")
        for block in blocks("console")
        for line in block.splitlines()
        if line.startswith("$ ")
    ]
    assert len(commands) >= 5
    for command in commands:
        name, *arguments = shlex.split(command)
        assert name == "dolg"
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        with pytest.raises(SystemExit) as end:  # here, for a process each would import TensorFlow
            main()
        assert end.value.code == 0, f"{command}\n{capfd.readouterr().err}"
    assert (place / "descriptors.npz").is_file()
    assert (place / "found.png").is_file()


def test_the_training_configuration_can_be_run(place, monkeypatch):
    from dolg_zoo.training import TrainingConfig
    from dolg_zoo.training.setup import Run

    (told,) = blocks("toml")
    (place / "run.toml").write_text(told)
    run = Run(TrainingConfig.from_toml(place / "run.toml"), place)
    assert run.training.class_names == ("astronaut", "chelsea")
    assert run.classifier.head.centers_per_class == 3


def test_the_two_commands_are_those_that_ci_runs():
    first, second = (block.strip() for block in blocks("sh")[:2])
    gate = (ROOT / ".ci" / "run").read_text().splitlines()
    assert first in gate and second in gate


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(((?!http)[^)]+)\)", README))))
def test_what_it_links_to_is_there(path):
    assert (ROOT / path).exists()


def test_the_layout_it_shows_is_the_one_there_is():
    (layout,) = re.findall(r"^```\n(dolg_zoo/\n.*?)^```", README, re.MULTILINE | re.DOTALL)
    shown = set(re.findall(r"^  ([a-z_]+)(?:/|\.py)", layout, re.MULTILINE))
    package = ROOT / "dolg_zoo"
    folders = {path.parent.name for path in package.glob("*/__init__.py")}
    assert folders - {"cli"} <= shown
    assert all((package / name).is_dir() or (package / f"{name}.py").is_file() for name in shown)

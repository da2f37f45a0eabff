"""Every block of the README is run, and the two set-up commands are those that CI runs."""

import re
import shutil
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
from documents import ROOT, blocks_of, lay_out, run_dolg
from writable_hub import log_in, serving, small_model

README = (ROOT / "README.md").read_text()


def blocks(language):
    return [block.text for block in blocks_of(README, language)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with photos/, query.jpg and a preset to publish, as the README assumes."""
    return lay_out(tmp_path_factory.mktemp("readme"))


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Where the README publishes to."""
    with serving() as hub:
        log_in(hub, tmp_path, monkeypatch)
        yield hub


@pytest.fixture
def few_layers(monkeypatch):
    """keras.applications.ConvNeXtTiny with 1 block a stage in place of 3, 3, 9 and 3."""
    from keras.src.applications import convnext

    sizes = {"depths": [1, 1, 1, 1], "projection_dims": [24, 48, 96, 192], "default_size": 224}
    monkeypatch.setitem(convnext.MODEL_CONFIGS, "tiny", sizes)


@pytest.fixture
def small_default(place, monkeypatch):
    """Makes a preset of few layers the one that is used where none is named."""
    small_model().save_to_preset(place / "small")

    def small_default():
        monkeypatch.setattr("dolg_zoo.presets.registry.DEFAULT_PRESET", str(place / "small"))
        monkeypatch.setattr("dolg_zoo.presets.DEFAULT_PRESET", str(place / "small"))

    return small_default


@pytest.mark.slow
def test_the_python_blocks_run_one_after_another(
    place, official_stand_in, few_layers, small_default, hub, monkeypatch, capsys
):
    monkeypatch.chdir(place)
    monkeypatch.setenv("DOLG_ZOO_CACHE", str(official_stand_in))
    namespace = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), namespace)
        if "for match in" in block:
            printed = capsys.readouterr().out.splitlines()
            assert printed[0].endswith("rocket.jpg") and len(printed) == 3
            small_default()  # for the blocks that follow
    assert (place / "my-dolg" / "model.weights.h5").is_file()
    assert namespace["model"].metadata["license"] == "CC-BY-4.0"  # that which was published


@pytest.mark.slow
def test_the_shell_commands_run(place, official_stand_in, small_default, monkeypatch, capfd):
    dolg = shutil.which("dolg", path=str(Path(sys.executable).parent))
    assert dolg, "the console script is not installed beside this Python"
    assert subprocess.run([dolg, "--help"], capture_output=True).returncode == 0
    # where the GLDv2 preset is cached, so that nothing is downloaded
    cache = shutil.copytree(official_stand_in, place / "cache")
    monkeypatch.setenv("DOLG_ZOO_CACHE", str(cache))
    monkeypatch.chdir(place)
    first, *rest = (block.commands for block in blocks_of(README, "console"))
    assert len(first) >= 5 and len(rest) >= 5
    for command in first:
        run_dolg(command, monkeypatch, capfd)
    small_default()
    for command in chain.from_iterable(rest):
        run_dolg(command, monkeypatch, capfd)
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

"""Every block of the README is run, and the two set-up commands are those that CI runs."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from documents import ROOT, blocks_of, lay_out, run_dolg
from small_model import small_model

README = (ROOT / "README.md").read_text()


def blocks(language):
    return [block.text for block in blocks_of(README, language)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with photos/, places/, query.jpg and about.json, as the README assumes."""
    return lay_out(tmp_path_factory.mktemp("readme"))


@pytest.mark.slow
def test_the_python_code_runs(place, official_stand_in, monkeypatch, capsys):
    monkeypatch.chdir(place)
    monkeypatch.setenv("DOLG_ZOO_CACHE", str(official_stand_in))
    (block,) = blocks("python")
    exec(compile(block, "README.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].endswith("rocket.jpg") and len(printed) == 3
    assert (place / "my-dolg" / "model.weights.h5").is_file()


@pytest.mark.slow
def test_the_shell_commands_run(place, monkeypatch, tmp_path, capfd):
    dolg = shutil.which("dolg", path=str(Path(sys.executable).parent))
    assert dolg, "the console script is not installed beside this Python"
    assert subprocess.run([dolg, "--help"], capture_output=True).returncode == 0
    monkeypatch.setenv("DOLG_ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(place)
    (block,) = blocks_of(README, "console")
    first, *rest = block.commands
    run_dolg(first, monkeypatch, capfd)
    assert (place / "found.png").is_file()
    # a preset of few layers as the default, for the commands that follow
    small_model().save_to_preset(place / "small")
    monkeypatch.setattr("dolg_zoo.presets.registry.DEFAULT_PRESET", str(place / "small"))
    shutil.rmtree(place / "my-places")  # of the other pages; the README trains it
    assert len(rest) == 7
    for command in rest:
        run_dolg(command, monkeypatch, capfd)
    assert (place / "my-places" / "preset" / "config.json").is_file()


def test_the_two_commands_are_those_that_ci_runs():
    first, second = (block.strip() for block in blocks("sh"))
    gate = (ROOT / ".ci" / "run").read_text().splitlines()
    assert first in gate and second in gate


def test_it_is_short():
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("page", ["README", "CONTRIBUTING", "SECURITY", "CHANGELOG"])
def test_what_a_page_links_to_is_there(page):
    for path in re.findall(r"\]\(((?!http)[^)]+)\)", (ROOT / f"{page}.md").read_text()):
        path, _, anchor = path.partition("#")
        assert (ROOT / path).exists(), path
        if anchor:
            heads = re.findall(r"^#+ (.*)$", (ROOT / path).read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"\W+", "-", head.lower()).strip("-") for head in heads}


def test_the_layout_that_contributors_see_is_the_one_there_is():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    (layout,) = re.findall(r"^```\n(dolg_zoo/\n.*?)^```", text, re.MULTILINE | re.DOTALL)
    shown = set(re.findall(r"^  (\w+)(?:/|\.py)", layout, re.MULTILINE))
    package = ROOT / "dolg_zoo"
    folders = {path.parent.name for path in package.glob("*/__init__.py")}
    assert folders - {"cli"} <= shown
    assert all((package / name).is_dir() or (package / f"{name}.py").is_file() for name in shown)


def test_the_files_that_contributors_are_sent_to_are_there():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"`([\w/.]+/[\w/.]+)`", text))
    named |= set(re.findall(r'^```diff title="(.+)"', text, re.M))  # files that are changed
    assert len(named) > 10
    for name in named:
        assert (ROOT / name).exists() or (ROOT / "dolg_zoo" / name).exists(), name

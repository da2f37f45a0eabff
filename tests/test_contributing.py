"""Each recipe of CONTRIBUTING.md is followed in a copy of the project."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from documents import ROOT, blocks_of, lay_out, write_block
from fake_hub import TOKEN

from dolg_zoo import DOLG

RECIPES = {
    title.split()[-1]: text
    for title, text in re.findall(
        r"^## (How to add .*?)$(.*?)(?=^## )", (ROOT / "CONTRIBUTING.md").read_text(), re.M | re.S
    )
}
PRINTED = {
    "backbone": r"dolg_plain_s +7\.3 M",
    "preset": r"^Preset +dolg_efficientnet_lite_b0_places",
    "runtime": r"saved +3\.[0-9.]+ ",
    "command": r"^4$",
}


def test_there_are_four_recipes():
    assert RECIPES.keys() == PRINTED.keys()


@pytest.mark.parametrize(
    "thing",
    ["command", *(pytest.param(t, marks=pytest.mark.slow) for t in PRINTED if t != "command")],
)
def test_who_follows_a_recipe_gets_what_it_promises(thing, tmp_path, client):
    for name in ("dolg_zoo", "tools", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "golden")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    for name in ("pyproject.toml", "weights_manifest.json"):
        shutil.copy(ROOT / name, tmp_path)
    lay_out(tmp_path)
    if thing == "preset":
        shutil.rmtree(tmp_path / "my-places")
        DOLG.from_preset().save_to_preset(tmp_path / "my-places")
    commands = []
    for block in blocks_of(RECIPES[thing]):
        if block.title:
            write_block(block, tmp_path)
        else:
            commands += block.commands
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euxc", "\n".join(commands)],
        cwd=tmp_path,
        env={
            **{key: value for key, value in client.environment.items() if "XDIST" not in key},
            "PATH": path,
            "PYTHONPATH": str(tmp_path),
            "PYTEST_ADDOPTS": "-n 0",
            "DOLG_ZOO_CACHE": str(tmp_path / "cache"),
            "HF_TOKEN": TOKEN,
            "COLUMNS": "200",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(PRINTED[thing], done.stdout, re.M), done.stdout

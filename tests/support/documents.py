"""What the README and the pages of docs/ assume, and how their blocks are run."""

from __future__ import annotations

import json
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image
from small_model import STATED, small_model

from dolg_zoo.cli import main
from dolg_zoo.shipped_photos import FOLDER

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the file that its title names, and what is in it."""

    language: str
    title: str | None
    text: str

    @property
    def commands(self):
        """The command lines of a console or a sh block, continued lines joined."""
        lines = self.text.replace("\\\n", " ").splitlines()
        if self.language == "console":
            return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        return [line for line in lines if line and not line.startswith("#")]


def blocks_of(text, *languages):
    """The fenced blocks of a page, those of some languages or all."""
    fences = re.findall(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```', text, re.M | re.S)
    blocks = [Block(language, title or None, body) for language, title, body in fences]
    return [block for block in blocks if not languages or block.language in languages]


def lay_out(folder):
    """Puts there what the documents speak of: photos/, query.jpg, places/ and a preset."""
    (folder / "photos").mkdir()
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        (path,) = FOLDER.glob(f"{name}.*")
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


def write_block(block, folder):
    """Writes the file that a block's title names, or makes the change of a diff to it."""
    path = folder / block.title
    if block.language != "diff":
        path.write_text(block.text)
        return
    lines = block.text.splitlines(keepends=True)
    before = "".join(line[1:] for line in lines if line[0] in " -")
    after = "".join(line[1:] for line in lines if line[0] in " +")
    text = path.read_text()
    assert text.count(before) == 1, f"{block.title} has not, or not once:\n{before}"
    path.write_text(text.replace(before, after))


def run_dolg(command, monkeypatch, capfd):
    """Runs a command line here, for a process each would import TensorFlow; it must succeed."""
    name, *arguments = shlex.split(command)
    assert name == "dolg"
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0, f"{command}\n{capfd.readouterr().err}"

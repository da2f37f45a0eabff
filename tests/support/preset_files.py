"""Changes to the files of a preset, for tests of folders that are damaged or hostile."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Has `change` change the object in a JSON file."""
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def forget_hashes(folder: Path) -> None:
    """Takes the hashes out of metadata.json that would give a change away."""
    edit_json(folder / "metadata.json", lambda values: values.pop("sha256", None))


def edit(folder: Path, name: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes a JSON file of a preset, whose hashes are then forgotten."""
    forget_hashes(folder)
    edit_json(folder / name, change)


def flip_a_byte(path: Path, place: float = 0.5) -> None:
    """Flips a bit of the byte that is at this share of a file."""
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)

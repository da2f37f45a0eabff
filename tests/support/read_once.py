"""Presets that are built once, where a test loads the same bytes again and again.

What `read_preset` gives depends on the bytes of a folder alone, and building the network takes it a
quarter of a second. For tests of how those bytes come into the folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dolg_zoo.presets import folder as reader


def bytes_in(folder: Path) -> str:
    """A hash of the names and bytes of all files in a folder."""
    whole = hashlib.sha256()
    for path in sorted(Path(folder).iterdir()):
        if path.is_file():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            whole.update(f"{path.name} {content}\n".encode())
    return whole.hexdigest()


@contextmanager
def reading_each_preset_once() -> Iterator[None]:
    """Has `read_preset` read each folder of other bytes once; what it refuses it reads anew.

    The tests leave as it is the network that several of them get.
    """
    read_preset, known_presets = reader.read_preset, {}

    def read(folder, known=None, **options):
        key = bytes_in(folder), *(tuple(sorted(part.items())) for part in (known or {}, options))
        if key not in known_presets:
            known_presets[key] = read_preset(folder, known, **options)
        return known_presets[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "read_preset", read)
        yield

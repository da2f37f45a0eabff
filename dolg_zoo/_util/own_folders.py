"""Recognise the folders that dolg-zoo writes, each kind by its record."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from dolg_zoo._util.outputs import Kind, has_keys

# files in the folder of a training run
TRAINED, HISTORY, CHECKPOINTS = "preset", "history.json", "checkpoints"
_CHECKPOINT = re.compile(r"step_[0-9]{9}|\..*")

INDEX_FILE_NAME = re.compile(r"(descriptors|items|faiss)-[0-9a-f]{16}(\.npy|\.parquet|\.index)")
PART_NAME = re.compile(r"part-([0-9]{6,9})\.parquet")


def _kind(
    name: str, record: str, keys: set[str], advice: str, others: re.Pattern[str] | None = None
) -> Kind:
    """Return a kind with keys in its record or, if that is damaged, files beside it."""

    def is_own(folder: Path) -> bool:
        names = _visible(folder) - {record}
        is_rest = others is not None and bool(names) and all(map(others.fullmatch, names))
        return has_keys(folder / record, *keys) or is_rest

    return Kind(name, is_own, True, f"Leave the ending out; {advice}.", signs=(record,))


def _is_run(folder: Path) -> bool:
    if HISTORY in (names := _visible(folder)):
        return has_keys(folder / HISTORY, "config", "history")
    # a run that was killed in its first epoch
    return (
        bool(names)
        and names <= {TRAINED, CHECKPOINTS}
        and (TRAINED not in names or PRESET.owns(folder / TRAINED))
        and all(map(_CHECKPOINT.fullmatch, _visible(folder / CHECKPOINTS)))
    )


def _visible(folder: Path) -> set[str]:
    names = os.listdir(folder) if folder.is_dir() else ()  # noqa: PTH208
    return {name for name in names if name[0] != "."}


_AS_FILE = "for one file that NumPy reads, `dolg embed DIR -o OUT.npz`"
INDEX = _kind(
    "an index", "index.json", {"format_version", "model_id", "files"}, _AS_FILE, INDEX_FILE_NAME
)
STORE = _kind(
    "a store of descriptors",
    "store.json",
    {"format_version", "model_id", "parts"},
    f"the folder holds Parquet files; {_AS_FILE}",
    PART_NAME,
)
PRESET = _kind(
    "a preset", "config.json", {"format_version", "dolg"}, "a preset is a folder of several files"
)
RUN = Kind(
    "the folder of a training run",
    _is_run,
    True,
    "Leave the ending out; the preset, the curves and the checkpoints are several files.",
    signs=(HISTORY, TRAINED, CHECKPOINTS),
)


def is_own_folder(folder: Path, names: Iterable[str] | None = None) -> bool:
    """Return whether dolg-zoo wrote a folder; `names` are its files' names, if known."""
    names = _visible(folder) if names is None else {*names}
    kinds = (INDEX, STORE, PRESET, RUN)
    return any(kind.owns(folder) for kind in kinds if not names.isdisjoint(kind.signs))

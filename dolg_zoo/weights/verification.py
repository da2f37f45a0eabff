"""Hash the cached files again and compare them with their pinned hashes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dolg_zoo._util.hashing import absence_of, fault_in
from dolg_zoo._util.json_files import json_object
from dolg_zoo._util.records import stated_hashes
from dolg_zoo.errors import WeightsError
from dolg_zoo.weights.download import fetch, fetch_repo, parse_hub_url
from dolg_zoo.weights.hub.request import Request, cached_path
from dolg_zoo.weights.manifest import (
    MARGIN_HEAD,
    METADATA,
    PRESET_FILES,
    FileHash,
    RemoteFile,
)


@dataclass(frozen=True)
class CheckedFile:
    """A file and its fault."""

    path: Path
    fault: str | None  # in words, with the expected value
    fetch_again: Callable[[], object] | None = None  # restores it; None: not downloaded

    def to_dict(self) -> dict[str, Any]:
        """Return the path, the size in bytes (0 if there is no file) and the fault."""
        size = self.path.stat().st_size if self.path.is_file() else 0
        return {"path": str(self.path), "bytes": size, "fault": self.fault}


def verify_files(folder: Path, files: Mapping[str, FileHash]) -> list[CheckedFile]:
    """Hash files of a folder and compare them with their pinned hashes, by name."""
    return [_checked(folder / name, pin) for name, pin in files.items()]


def verify_pinned(files: Iterable[RemoteFile], preset: str) -> list[CheckedFile]:
    """Hash the cached files of a preset's pinned files."""
    pins = {file.path: file for file in files}
    source = next(iter(pins.values()))
    return [
        _checked(path, pins[name], partial(fetch, pins[name], preset=preset))
        for name, path in _cached(source.repo, source.revision, pins).items()
    ]


def verify_repo(url: str) -> list[CheckedFile]:
    """Hash the cached files of the unpinned preset `hf://user/repo[@revision]`."""
    # a branch stands for its commit at the last use
    repo, revision = parse_hub_url(url)
    cached = _cached(repo, revision or "main", (*PRESET_FILES, MARGIN_HEAD))
    files = [_verify_unpinned(repo, path) for path in cached.values()]
    if not files or any(file.fault for file in files):
        return files
    # the published files may not fit together, and would then not load
    return files + [
        file for file in verify_folder(files[0].path.parent, from_hub=True) if file.fault
    ]


def verify_folder(
    folder: Path, *, from_hub: bool = False, known: Mapping[str, str] = MappingProxyType({})
) -> list[CheckedFile]:
    """Hash the files of a preset folder and compare them with its metadata.json."""
    # `from_hub`: a folder of the Hub's cache, where the margin head is optional and the Hub states
    # the hashes; `known` are sha256 that were just computed
    metadata = folder / METADATA
    if absent := absence_of(metadata):
        return [CheckedFile(metadata, absent)]
    try:
        stated = stated_hashes(json_object(metadata))
    except (OSError, ValueError, RecursionError) as error:
        return [CheckedFile(metadata, f"it cannot be read: {error}")]
    checked = []
    for name in (*PRESET_FILES, MARGIN_HEAD):
        path = folder / name
        if name in stated and not (from_hub and name == MARGIN_HEAD and not path.exists()):
            fault = None if known.get(name) == stated[name] else _fault(path, stated[name])
            checked.append(CheckedFile(path, fault))
        elif name not in (METADATA, MARGIN_HEAD) and not from_hub:
            checked.append(CheckedFile(path, f"{METADATA} states no hash of it"))
    return checked


def cached_repos() -> list[str]:
    """Return the presets in the Hub's cache as `hf://user/repo@commit`, damaged ones too."""
    # the Hub client's own list leaves those out
    from huggingface_hub import constants

    addresses = []
    for snapshot in Path(constants.HF_HUB_CACHE).glob("models--*--*/snapshots/*"):
        names = sum(os.path.lexists(snapshot / name) for name in PRESET_FILES)
        if names >= len(PRESET_FILES) - 1:
            repo = snapshot.parents[1].name.removeprefix("models--").replace("--", "/")
            addresses.append(f"hf://{repo}@{snapshot.name}")
    return sorted(addresses)


def _verify_unpinned(repo: str, path: Path) -> CheckedFile:
    commit = path.parent.name
    try:
        # The hash is in the cache; a cache without links has none, so the Hub is asked.
        fault = None if path.exists() else "it is missing"
        fault = fault or _fault(path, Request(repo, commit, (path.name,)).stated_hash(path))
    except WeightsError as error:
        fault = str(error)
    return CheckedFile(path, fault, partial(fetch_repo, repo, [path.name], revision=commit))


def _cached(repo: str, revision: str, names: Iterable[str]) -> dict[str, Path]:
    """Return name to path of a commit's files, also of missing ones; {} if no file is cached."""
    paths = {name: cached_path(repo, revision, name) for name in names}
    folder = next((path.parent for path in paths.values() if path), None)
    if folder is None:
        return {}
    return {
        name: path or folder / name
        for name, path in paths.items()
        # the margin head is downloaded only for training
        if path or name != MARGIN_HEAD
    }


def _checked(
    path: Path, pin: FileHash | RemoteFile, fetch_again: Callable[[], object] | None = None
) -> CheckedFile:
    return CheckedFile(path, _fault(path, pin.sha256, pin.size), fetch_again)


def _fault(path: Path, expected: str, size: int | None = None) -> str | None:
    try:
        return fault_in(path, expected, size)
    except OSError as error:
        return f"it cannot be read: {error.strerror}"

"""What lies in the caches, hashed again and held against what was promised of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dolg_zoo.weights.download import fetch, fetch_repo, parse_hub_url
from dolg_zoo.weights.hashing import fault_in
from dolg_zoo.weights.hub.cache import cached_path, hash_in_cache
from dolg_zoo.weights.kept import EMBEDDED, conversion_folder
from dolg_zoo.weights.manifest import (
    MARGIN_HEAD,
    PRESET_FILES,
    CheckpointEntry,
    PresetEntry,
    RemoteFile,
)

_METADATA = "metadata.json"


@dataclass(frozen=True)
class CheckedFile:
    """A file and what is wrong with it.

    Attributes:
        path: where it lies.
        fault: what is wrong, in words with what was expected, or None.
        fetch_again: puts the right bytes in its place or raises a WeightsError; None for a file
            that was not downloaded.
    """

    path: Path
    fault: str | None
    fetch_again: Callable[[], object] | None = None


def verify_entry(entry: PresetEntry | CheckpointEntry) -> list[CheckedFile]:
    """Hash what the caches hold of a preset of the manifest.

    Of one that is converted from an upstream's file, that are the upstream's file and the result.

    Returns:
        A record for each of its files; none if none of them is cached.
    """
    if isinstance(entry, PresetEntry) and entry.source is None:
        paths = [(EMBEDDED / entry.name / name, promised) for name, promised in entry.files.items()]
        return [CheckedFile(path, _fault(path, file.sha256, file.size)) for path, file in paths]
    if isinstance(entry, PresetEntry):
        return _verify_pinned(entry.remote_files, entry.name)
    folder = conversion_folder(entry)
    converted = verify_folder(folder) if folder and folder.is_dir() else []
    return _verify_pinned([entry.file], entry.name) + converted


def verify_repo(url: str) -> list[CheckedFile]:
    """Hash what the Hub's cache holds of a preset that nothing pins.

    Args:
        url: `hf://user/repo` or `hf://user/repo@revision`; a branch stands for the commit it was
            at when it was last used.

    Returns:
        A record for each of its files; none if none of them is cached.

    Raises:
        ValueError: the text is not of that form.
    """
    repo, revision = parse_hub_url(url)
    found = _cached(repo, revision or "main", (*PRESET_FILES, MARGIN_HEAD))
    return [_verify_unpinned(repo, path) for path in found.values()]


def verify_folder(folder: Path) -> list[CheckedFile]:
    """Hash the files of a preset folder that its metadata.json states a hash of."""
    try:
        stated = json.loads((folder / _METADATA).read_bytes())["sha256"]
        return [
            CheckedFile(folder / name, _fault(folder / name, stated[name]))
            for name in (*PRESET_FILES, MARGIN_HEAD)
            if name in stated
        ]
    except KeyError:
        return [CheckedFile(folder / _METADATA, "it states no hashes of the other files")]
    except (OSError, ValueError, TypeError, RecursionError) as error:
        return [CheckedFile(folder / _METADATA, f"it cannot be read: {error}")]


def cached_repos() -> list[str]:
    """The repositories in the Hub's cache that hold a preset, each as `hf://user/repo@commit`."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repos = scan_cache_dir().repos
    except CacheNotFound:
        return []
    return sorted(
        f"hf://{repo.repo_id}@{revision.commit_hash}"
        for repo in repos
        if repo.repo_type == "model"
        for revision in repo.revisions
        if set(PRESET_FILES) <= {path.name for path in revision.snapshot_path.iterdir()}
    )


def _verify_pinned(files: Iterable[RemoteFile], preset: str) -> list[CheckedFile]:
    pins = {file.path: file for file in files}
    source = next(iter(pins.values()))
    return [
        CheckedFile(
            path,
            _fault(path, pins[name].sha256, pins[name].size),
            partial(fetch, pins[name], preset=preset),
        )
        for name, path in _cached(source.repo, source.revision, pins).items()
    ]


def _verify_unpinned(repo: str, path: Path) -> CheckedFile:
    stated = hash_in_cache(path)
    fault = _fault(path, stated) if stated or not path.exists() else "no hash of it is kept here"
    commit = path.parent.name
    return CheckedFile(path, fault, partial(fetch_repo, repo, [path.name], revision=commit))


def _cached(repo: str, revision: str, names: Iterable[str]) -> dict[str, Path]:
    """Find where files are, or would be if one of them is there; none if none is."""
    found = {name: cached_path(repo, revision, name) for name in names}
    folder = next((path.parent for path in found.values() if path), None)
    return {
        name: path or folder / name
        for name, path in found.items()
        # only who trains on has a margin head
        if path or (folder and name != MARGIN_HEAD)
    }


def _fault(path: Path, expected: str | None, size: int | None = None) -> str | None:
    if not path.exists():
        return "it is missing"
    try:
        return fault_in(path, expected, size)
    except OSError as error:
        return f"it cannot be read: {error.strerror}"

"""Files from the Hub, handed out only after their hash has matched.

huggingface_hub downloads and caches, but compares no hashes, so every file is hashed here at each
use: a record of earlier checks would itself need trust. It is imported when it is first needed, as
it reads its environment at import.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dolg_zoo._util.hashing import is_sha256
from dolg_zoo.weights.hub.request import COMMIT, Request, hash_in_cache
from dolg_zoo.weights.manifest import PRESET_FILES, PresetEntry, RemoteFile

_HUB_URL = re.compile(
    r"hf://(?P<repo>[^/@]+/[^/@]+)(?:@(?P<revision>\w[\w.-]*(?:/\w[\w.-]*)*))?", re.ASCII
)


@dataclass(frozen=True)
class RepoSnapshot:
    """Verified files of one Hub repository."""

    folder: Path  # in the cache; the files have their names in the repository
    commit: str  # of all of them, 40 hexadecimal digits
    # by file name: of pinned files, and of those for which the Hub states one (the large ones)
    sha256: Mapping[str, str] = field(default_factory=dict)


def parse_hub_url(url: str) -> tuple[str, str | None]:
    """Split `hf://user/repo[@revision]` into the repository and the revision.

    Returns:
        `user/repo`, and the branch, tag or commit, or None where none is named.

    Raises:
        ValueError: the text is not of that form.
    """
    from huggingface_hub.utils import validate_repo_id

    try:
        match = _HUB_URL.fullmatch(url)
        if match is None:
            raise ValueError("write hf://user/repo or hf://user/repo@revision.")
        validate_repo_id(match["repo"])
    except ValueError as error:
        raise ValueError(f"{url!r} names no Hub repository: {error}") from error
    return match["repo"], match["revision"]


def fetch(file: RemoteFile, *, preset: str | None = None) -> Path:
    """Return a verified local copy of a pinned file, downloading it unless it is in the cache.

    Args:
        file: the file to fetch, with its expected sha256.
        preset: the preset that needs it, for errors.

    Returns:
        The file in the cache, to be read only.

    Raises:
        DownloadError: it is not in the cache and cannot be downloaded from the Hub.
        ChecksumError: the sha256 does not match, even after a second download.
    """
    request = Request(file.repo, file.revision, (file.path,), preset)
    return request.verified(file.path, file)


def fetch_preset(entry: PresetEntry, files: Sequence[str] = PRESET_FILES) -> RepoSnapshot:
    """Return verified local copies of files of a pinned preset.

    Args:
        entry: a preset that has a source.
        files: at least one name of a file of it.

    Raises:
        DownloadError: a file is not in the cache and cannot be had from the Hub.
        ChecksumError: the sha256 does not match, even after a second download.
    """
    source = entry.source
    if source is None:
        raise ValueError(f"{entry.name} ships with the package and is not downloaded.")
    request = Request(source.repo, source.revision, tuple(files), entry.name)
    pins = [file for file in entry.remote_files if file.path in request.names]
    paths = [request.verified(file.path, file) for file in pins]
    return RepoSnapshot(  # the Hub's cache has a folder for each commit
        paths[0].parent, source.revision, {file.path: file.sha256 for file in pins}
    )


def fetch_repo(
    repo_id: str,
    files: Sequence[str],
    *,
    revision: str | None = None,
    cache_dir: Path | str | None = None,
) -> RepoSnapshot:
    """Return verified local copies of some files of a repository that nothing pins.

    A branch or tag is resolved once, and every file is taken from that commit, which is logged; so
    is a move of the branch since the last call. Each file is checked against the hash that the Hub
    states for it, also on later calls and offline. If the Hub cannot be reached, the commit known
    from the last call is taken.

    Args:
        repo_id: `user/repo`.
        files: at least one name of a file at the repository's top level.
        revision: branch, tag or commit; None means `main`.
        cache_dir: a Hub cache folder; None means the user's own.

    Raises:
        DownloadError: a file is not in the cache and cannot be had from the Hub.
        ChecksumError: the sha256 does not match, even after a second download.
    """
    revision = revision or "main"
    request = Request(repo_id, revision, tuple(files), None, cache_dir)
    if not COMMIT.fullmatch(revision):
        request = request.resolved()
    paths = [request.verified(name) for name in request.names]
    hashes = {path.name: hash_in_cache(path) for path in paths}
    known = {name: sha256 for name, sha256 in hashes.items() if is_sha256(sha256)}
    return RepoSnapshot(paths[0].parent, request.revision, known)

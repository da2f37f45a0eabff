"""Files from the Hub, handed out only after their hash has matched.

huggingface_hub does the downloading: its cache, tokens, mirror (`HF_ENDPOINT`), offline switch
(`HF_HUB_OFFLINE`) and progress bars are the user's own. It compares no hashes, so a byte that
flipped on the way or on the disk would pass unseen; every file is therefore hashed here, whether
it has just arrived or was found in the cache.

huggingface_hub is imported when it is first needed: it reads its environment at import.
"""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from dolg_zoo.weights.errors import ChecksumError, DownloadError, WeightsError
from dolg_zoo.weights.hashing import fault_in
from dolg_zoo.weights.manifest import RemoteFile

logger = logging.getLogger(__name__)

_HUB_URL = re.compile(
    r"hf://(?P<repo>[^/@]+/[^/@]+)(?:@(?P<revision>\w[\w.-]*(?:/\w[\w.-]*)*))?", re.ASCII
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_CANNOT_STORE = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
}


@dataclass(frozen=True)
class RepoSnapshot:
    """Verified files of one Hub repository.

    Attributes:
        folder: where they lie, under their names in the repository. It belongs to the cache.
        commit: the one commit that all of them are from, 40 hexadecimal digits.
    """

    folder: Path
    commit: str


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


def fetch(file: RemoteFile, *, cache_dir: Path | str | None = None) -> Path:
    """Return a verified local copy of a pinned file, downloading it unless it is in the cache.

    Args:
        file: what to fetch, and the sha256 its bytes must have.
        cache_dir: a Hub cache folder; None means the user's own.

    Returns:
        The file in the cache, to be read only.

    Raises:
        DownloadError: it is not in the cache and cannot be had from the Hub.
        ChecksumError: the bytes are wrong, and still so after they were fetched once more.
    """
    request = _Request(file.repo, file.revision, (file.path,), cache_dir)
    return request.verified(file.path, lambda path: fault_in(path, file.sha256, file.size))


def fetch_repo(
    repo_id: str,
    files: Sequence[str],
    *,
    revision: str | None = None,
    cache_dir: Path | str | None = None,
) -> RepoSnapshot:
    """Return verified local copies of some files of a repository that nothing pins.

    A branch or tag is resolved once, and every file is taken from the commit found. Each is held
    against the hash that the Hub stated for it, on later calls and offline too.

    Args:
        repo_id: `user/repo`.
        files: at least one name of a file at the repository's top level.
        revision: branch, tag or commit; None means `main`.
        cache_dir: a Hub cache folder; None means the user's own.

    Raises:
        DownloadError: a file is not in the cache and cannot be had from the Hub.
        ChecksumError: the bytes are wrong, and still so after they were fetched once more.
    """
    request = _Request(repo_id, revision or "main", tuple(files), cache_dir)
    for name in request.names:
        path = request.verified(name, request.stated_fault)
        # huggingface_hub has put the file in a folder named by the commit.
        request = request.at_commit(path.parent.name)
    return RepoSnapshot(path.parent, request.revision)


@dataclass(frozen=True)
class _Request:
    """What one call wants from the Hub: enough to fetch it, and to say how else to get it."""

    repo: str
    revision: str
    names: tuple[str, ...]
    cache_dir: Path | str | None

    def verified(self, name: str, fault: Callable[[Path], str | None]) -> Path:
        """Return a file in which `fault` finds none; a bad one is fetched once more."""
        from huggingface_hub import constants
        from huggingface_hub.utils import WeakFileLock

        path = self.download(name)
        problem = fault(path)
        if problem is None:
            return path
        if constants.HF_HUB_OFFLINE:
            raise ChecksumError(
                f"{self.describe(name)} is damaged in the cache ({path}): {problem}. Unset "
                f"HF_HUB_OFFLINE to fetch it again, or {self.by_hand()}."
            )
        with self.explained(name), WeakFileLock(self.lock_file(path)):
            path = self.download(name)
            problem = fault(path)
            if problem is None:
                # Another process has put it right while this one waited for the lock.
                return path
            logger.warning("%s: %s. Fetching it again.", self.describe(name), problem)
            # Without this, the Hub client would leave the name pointing at the old bytes.
            path.unlink()
            path = self.download(name, force=True)
            problem = fault(path)
            if problem is None:
                return path
            self.discard(path)
        raise ChecksumError(
            f"{self.describe(name)} arrived damaged twice: {problem}. Nothing was kept. If "
            f"HF_ENDPOINT names a mirror or a proxy is between, try without it; else try later."
        )

    def download(self, name: str, *, force: bool = False) -> Path:
        """Return the file in the cache, as huggingface_hub believes it to be."""
        from huggingface_hub import hf_hub_download

        with self.explained(name):
            return Path(
                hf_hub_download(
                    self.repo,
                    name,
                    revision=self.revision,
                    cache_dir=self.cache_dir,
                    force_download=force,
                )
            )

    def stated_fault(self, path: Path) -> str | None:
        """Hold a cached file against the hash that the Hub stated for it."""
        return fault_in(path, self.stated_hash(path))

    def stated_hash(self, path: Path) -> str:
        # In the cache a file is a link to a blob, named by the etag it came with. That is the hash
        # (sha256 of a large file, git's sha1 of a small one), so it is known offline too.
        if path.is_symlink() and _HASH.fullmatch(etag := path.readlink().name):
            return etag
        from huggingface_hub import HfApi, constants

        if constants.HF_HUB_OFFLINE:
            raise DownloadError(
                f"{self.describe(path.name)} cannot be verified offline: this cache keeps no hash "
                f"beside it ({path}). Unset HF_HUB_OFFLINE, or fetch the repository with "
                f"`hf download {self.repo} --local-dir FOLDER` and use that folder."
            )
        with self.explained(path.name):
            [info] = HfApi().get_paths_info(self.repo, path.name, revision=path.parent.name)
        return info.lfs.sha256 if info.lfs else info.blob_id

    def at_commit(self, commit: str) -> _Request:
        """Return the same request pinned to the commit that a file of it came from."""
        wanted = self.revision if _COMMIT.fullmatch(self.revision) else None
        if not _COMMIT.fullmatch(commit) or wanted not in (None, commit):
            raise DownloadError(
                f"Asked for {self.repo} at {self.revision}, the server answered with commit "
                f"{commit!r}. If HF_ENDPOINT names a mirror, try without it."
            )
        return replace(self, revision=commit)

    def lock_file(self, path: Path) -> Path:
        # <cache>/models--user--repo/snapshots/<commit>/<name>; the Hub client's own locks lie in
        # the same folder, and are named by etags.
        repo_folder = path.parents[2]
        folder = repo_folder.parent / ".locks" / repo_folder.name
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{path.parent.name}-{path.name}.lock"

    def discard(self, path: Path) -> None:
        """Remove a file from the cache, with the blob it links to."""
        if path.is_symlink():
            # Only the name is taken from the link: a blob lies nowhere else.
            (path.parents[2] / "blobs" / path.readlink().name).unlink(missing_ok=True)
        path.unlink()

    @contextmanager
    def explained(self, name: str) -> Iterator[None]:
        """Turn what the Hub client raises into one DownloadError that says what to do."""
        try:
            yield
        except WeightsError:
            raise
        except Exception as error:
            # Any class: those of the HTTP library and of the transfer backend beneath the client
            # have no common base, and change with its releases.
            raise DownloadError(self.explanation(name, error)) from error

    def explanation(self, name: str, error: Exception) -> str:
        from huggingface_hub import constants, errors

        if isinstance(error, OSError) and error.errno in _CANNOT_STORE:
            return (
                f"{self.describe(name)} cannot be stored in {self.cache()}: {error.strerror}. Make "
                f"room or set the rights there, or set HF_HOME to another folder."
            )
        causes = list(_causes(error))
        if any(isinstance(cause, errors.OfflineModeIsEnabled) for cause in causes):
            return (
                f"{self.describe(name)} is not in the cache, and HF_HUB_OFFLINE forbids to fetch "
                f"it. Unset that, or {self.by_hand()}."
            )
        answer = next((cause for cause in causes if isinstance(cause, errors.HfHubHTTPError)), None)
        if isinstance(answer, errors.GatedRepoError):
            return (
                f"{self.repo} is gated: accept its conditions on its page at {constants.ENDPOINT}, "
                f"then log in with `hf auth login` or set HF_TOKEN."
            )
        if isinstance(answer, errors.RevisionNotFoundError):
            return f"{self.repo} has no revision {self.revision!r} at {constants.ENDPOINT}."
        if isinstance(answer, errors.RemoteEntryNotFoundError):
            return f"{self.repo} has no file {name!r} at revision {self.revision}."
        status = answer.response.status_code if answer is not None else None
        if isinstance(answer, errors.RepositoryNotFoundError) or status in (401, 403, 404):
            return (
                f"{constants.ENDPOINT} shows no repository {self.repo} to you (status {status}). "
                f"Check its name; if it is private, log in with `hf auth login` or set HF_TOKEN."
            )
        reason = f"status {status}" if status else f"{type(causes[-1]).__name__}: {causes[-1]}"
        return (
            f"{self.describe(name)} could not be fetched from {constants.ENDPOINT} ({reason}). "
            f"Check the connection, the proxy and HF_ENDPOINT if you set one; or {self.by_hand()}."
        )

    def describe(self, name: str) -> str:
        return f"{name} of {self.repo} at revision {self.revision}"

    def by_hand(self) -> str:
        """Say how to bring the files over from a machine with a connection."""
        folder = "models--" + self.repo.replace("/", "--")
        return (
            f"run `hf download {self.repo} {' '.join(self.names)} --revision {self.revision}` on a "
            f"connected machine and copy the folder {folder} of its cache into {self.cache()}"
        )

    def cache(self) -> Path:
        from huggingface_hub import constants

        return Path(constants.HF_HUB_CACHE if self.cache_dir is None else self.cache_dir)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__

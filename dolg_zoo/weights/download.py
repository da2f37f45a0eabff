"""Files from the Hub, handed out only after their hash has matched.

huggingface_hub does the downloading: its cache, tokens, mirror (`HF_ENDPOINT`), offline switch
(`HF_HUB_OFFLINE`) and progress bars are the user's own. It compares no hashes, so a byte that
flipped on the way or on the disk would pass unseen; every file is therefore hashed here, whether
it has just arrived or was found in the cache.

That costs little enough to be done at each load: sha256 runs at more than a gigabyte a second, and
a note of what was verified before would have to be trusted in its place.

huggingface_hub is imported when it is first needed: it reads its environment at import.
"""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dolg_zoo.weights.errors import (
    ChecksumError,
    DownloadError,
    UnreachableError,
    WeightsError,
)
from dolg_zoo.weights.hashing import fault_in
from dolg_zoo.weights.manifest import PresetEntry, RemoteFile

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata

logger = logging.getLogger(__name__)

_HUB_URL = re.compile(
    r"hf://(?P<repo>[^/@]+/[^/@]+)(?:@(?P<revision>\w[\w.-]*(?:/\w[\w.-]*)*))?", re.ASCII
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_FILE_NAME = re.compile(r"\w[\w.-]*", re.ASCII)
_CANNOT_STORE = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
}
_LATER = {429, 500, 502, 503, 504}  # statuses that say nothing of the file or of who asks
_PATIENCE_S = 60


@dataclass(frozen=True)
class RepoSnapshot:
    """Verified files of one Hub repository.

    Attributes:
        folder: where they lie, under their names in the repository. It belongs to the cache.
        commit: the one commit that all of them are from, 40 hexadecimal digits.
        sha256: what is known of their hashes, by name: of all that are pinned, and of those of an
            unpinned repository that the Hub states one for, which are the large ones.
    """

    folder: Path
    commit: str
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


def fetch(
    file: RemoteFile, *, preset: str | None = None, cache_dir: Path | str | None = None
) -> Path:
    """Return a verified local copy of a pinned file, downloading it unless it is in the cache.

    Args:
        file: what to fetch, and the sha256 its bytes must have.
        preset: what it is fetched for, to be named in errors.
        cache_dir: a Hub cache folder; None means the user's own.

    Returns:
        The file in the cache, to be read only.

    Raises:
        DownloadError: it is not in the cache and cannot be had from the Hub.
        ChecksumError: the bytes are wrong, and still so after they were fetched once more.
    """
    request = _Request(file.repo, file.revision, (file.path,), preset, cache_dir)
    return request.pinned(file)


def fetch_preset(entry: PresetEntry, *, cache_dir: Path | str | None = None) -> RepoSnapshot:
    """Return verified local copies of all files of a pinned preset.

    Args:
        entry: the preset; one that has a source.
        cache_dir: a Hub cache folder; None means the user's own.

    Raises:
        DownloadError: a file is not in the cache and cannot be had from the Hub.
        ChecksumError: the bytes are wrong, and still so after they were fetched once more.
    """
    source = entry.source
    request = _Request(source.repo, source.revision, tuple(entry.files), entry.name, cache_dir)
    paths = [request.pinned(file) for file in entry.remote_files]
    return RepoSnapshot(  # the Hub's cache has a folder for each commit
        paths[0].parent,
        source.revision,
        {name: file.sha256 for name, file in entry.files.items()},
    )


def fetch_repo(
    repo_id: str,
    files: Sequence[str],
    *,
    revision: str | None = None,
    cache_dir: Path | str | None = None,
) -> RepoSnapshot:
    """Return verified local copies of some files of a repository that nothing pins.

    A branch or tag is resolved once, and every file is taken from the commit found. Each is held
    against the hash that the Hub stated for it, on later calls and offline too. The commit is
    logged, so that it can be pinned; that a branch has moved since the last call is logged as well.
    If the Hub cannot be reached, the commit known from the last call is taken.

    Args:
        repo_id: `user/repo`.
        files: at least one name of a file at the repository's top level.
        revision: branch, tag or commit; None means `main`.
        cache_dir: a Hub cache folder; None means the user's own.

    Raises:
        DownloadError: a file is not in the cache and cannot be had from the Hub.
        ChecksumError: the bytes are wrong, and still so after they were fetched once more.
    """
    revision = revision or "main"
    request = _Request(repo_id, revision, tuple(files), None, cache_dir)
    if not _COMMIT.fullmatch(revision):
        request = request.resolved()
    paths = {name: request.verified(name, request.stated_fault) for name in request.names}
    hashes = {name: _hash_in_cache(path) for name, path in paths.items()}
    return RepoSnapshot(
        paths[request.names[0]].parent,
        request.revision,
        {name: known for name, known in hashes.items() if known and _SHA256.fullmatch(known)},
    )


@dataclass(frozen=True)
class _Request:
    """What one call wants from the Hub: enough to fetch it, and to say how else to get it."""

    repo: str
    revision: str
    names: tuple[str, ...]
    preset: str | None
    cache_dir: Path | str | None

    def pinned(self, file: RemoteFile) -> Path:
        """Return a file whose hash was known before the Hub was asked."""

        def fault(path: Path) -> str | None:
            return fault_in(path, file.sha256, file.size)

        return self.verified(file.path, fault, file)

    def verified(
        self,
        name: str,
        fault: Callable[[Path], str | None],
        promised: RemoteFile | None = None,
    ) -> Path:
        """Return a file in which `fault` finds none; a bad one is fetched once more."""
        from huggingface_hub import constants
        from huggingface_hub.utils import WeakFileLock

        path = self.cached(name) or self.download(name, promised)
        problem = fault(path)
        if problem is None:
            return path
        if constants.HF_HUB_OFFLINE:
            raise ChecksumError(
                f"{self.describe(name)} is damaged in the cache ({path}): {problem}. Unset "
                f"HF_HUB_OFFLINE to fetch it again. {self.by_hand()}"
            )
        with self.explained(name), WeakFileLock(self.lock_file(path)):
            path = self.cached(name) or self.download(name, promised)
            problem = fault(path)
            if problem is None:
                # Another process has put it right while this one waited for the lock.
                return path
            logger.warning("%s: %s. Fetching it again.", self.describe(name), problem)
            # Without this, the Hub client would leave the name pointing at the old bytes.
            path.unlink()
            path = self.download(name, promised, force=True)
            problem = fault(path)
            if problem is None:
                return path
            self.discard(path)
        raise ChecksumError(
            f"{self.describe(name)} arrived damaged twice: {problem}. Nothing was kept. If "
            f"HF_ENDPOINT names a mirror or a proxy is between, try without it; else try later."
        )

    def cached(self, name: str) -> Path | None:
        """Return what the cache has for a name: at the commit, or where the branch was last."""
        from huggingface_hub import try_to_load_from_cache

        with self.explained(name):
            path = try_to_load_from_cache(
                self.repo, name, cache_dir=self.cache_dir, revision=self.revision
            )
        return Path(path) if isinstance(path, str) else None

    def download(
        self, name: str, promised: RemoteFile | None = None, *, force: bool = False
    ) -> Path:
        """Return the file in the cache, as huggingface_hub believes it to be."""
        from huggingface_hub import get_session, hf_hub_download

        with self.explained(name):
            hooks = get_session().event_hooks["response"]
            if _refuse_paths not in hooks:
                hooks.append(_refuse_paths)
            # huggingface_hub asks the same once more, but it would take 23 seconds to find that
            # there is no network, and download first what is known to be wrong.
            self.check(name, self.ask(name), promised)
            return Path(
                hf_hub_download(
                    self.repo,
                    name,
                    revision=self.revision,
                    cache_dir=self.cache_dir,
                    force_download=force,
                )
            )

    def ask(self, name: str) -> HfFileMetadata:
        """Return what the Hub states of a file."""
        from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
        from huggingface_hub.errors import HfHubHTTPError

        url = hf_hub_url(self.repo, name, revision=self.revision)
        timeout = constants.HF_HUB_ETAG_TIMEOUT
        try:
            return get_hf_file_metadata(url, timeout=timeout)
        except HfHubHTTPError as error:
            if error.response.status_code not in _LATER or _wait_in(error) > _PATIENCE_S:
                raise
        return get_hf_file_metadata(url, timeout=timeout, retry_on_errors=True)

    def check(self, name: str, stated: HfFileMetadata, promised: RemoteFile | None) -> None:
        """Refuse an answer that is not of the commit or the file that were asked for."""
        commit = stated.commit_hash or ""
        pinned = self.revision if _COMMIT.fullmatch(self.revision) else commit
        if not _COMMIT.fullmatch(commit) or commit != pinned:
            raise DownloadError(
                f"{self.describe(name)}: the server answered with commit {stated.commit_hash!r},"
                f" expected {pinned or '40 hexadecimal digits'}. {_OTHER_SERVER}"
            )
        if promised is None:
            return
        if stated.size not in (None, promised.size):
            problem = f"{stated.size} bytes, expected {promised.size}"
        elif stated.etag != promised.sha256 and _SHA256.fullmatch(stated.etag or ""):
            problem = f"the sha256 {stated.etag}, expected {promised.sha256}"
        else:
            return
        raise ChecksumError(
            f"{self.describe(name)} was not downloaded: the server states {problem}."
            f" {_OTHER_SERVER}"
        )

    def resolved(self) -> _Request:
        """Return the same request at the commit that its branch or tag names."""
        name = self.names[0]
        # The Hub client puts a file in a folder named by the commit.
        before = (path := self.cached(name)) and path.parent.name
        try:
            # By the branch's name, so that the Hub client notes where it was.
            now = self.download(name).parent.name
        except UnreachableError as error:
            if before is None:
                raise
            if error.reason is not None:
                logger.warning(
                    "The Hub cannot be reached (%s). hf://%s: going on with commit %s, where %s was"
                    " when it was last used here.",
                    *(error.reason, self.repo, before, self.revision),
                )
            return replace(self, revision=before)
        self.report_commit(before, now)
        return replace(self, revision=now)

    def report_commit(self, before: str | None, now: str) -> None:
        url = f"hf://{self.repo}"
        if before in (None, now):
            logger.warning(
                "%s: %s is at commit %s. %s@%s always gives these weights.",
                *(url, self.revision, now, url, now),
            )
        else:
            logger.warning(
                "%s has moved: %s was at commit %s when it was last used here, and is at %s now."
                " %s@%s gives the former weights.",
                *(url, self.revision, before, now, url, before),
            )

    def stated_fault(self, path: Path) -> str | None:
        """Hold a cached file against the hash that the Hub stated for it."""
        return fault_in(path, self.stated_hash(path))

    def stated_hash(self, path: Path) -> str:
        if known := _hash_in_cache(path):
            return known
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
            raise self.explanation(name, error) from error

    def explanation(self, name: str, error: Exception) -> DownloadError:
        from huggingface_hub import constants, errors

        described = self.describe(name)
        causes = list(_causes(error))
        for cause in causes:
            if isinstance(cause, OSError) and cause.errno in _CANNOT_STORE:
                return DownloadError(
                    f"{described} cannot be stored in {self.cache()}: {cause.strerror}. Make "
                    f"room or set the rights there, or set HF_HOME to another folder."
                )
        if any(isinstance(cause, errors.OfflineModeIsEnabled) for cause in causes):
            return UnreachableError(
                None,
                f"{described} is not in the cache, and HF_HUB_OFFLINE forbids to fetch it. Unset "
                f"that. {self.by_hand()}",
            )
        answer = next((cause for cause in causes if isinstance(cause, errors.HfHubHTTPError)), None)
        if isinstance(answer, errors.GatedRepoError):
            return DownloadError(
                f"{described}: the repository is gated. Accept its conditions on its page at "
                f"{constants.ENDPOINT}, then log in with `hf auth login` or set HF_TOKEN."
            )
        if isinstance(answer, errors.RevisionNotFoundError):
            return DownloadError(f"{described}: {constants.ENDPOINT} has no such revision.")
        if isinstance(answer, errors.RemoteEntryNotFoundError):
            return DownloadError(f"{described}: {constants.ENDPOINT} has no such file there.")
        status = answer.response.status_code if answer is not None else None
        if isinstance(answer, errors.RepositoryNotFoundError) or status in (401, 403, 404):
            return DownloadError(
                f"{described}: {constants.ENDPOINT} shows no such repository to you (status "
                f"{status}). Check its name; if it is private, log in with `hf auth login` or set "
                f"HF_TOKEN."
            )
        if status == 429 and (wait := _wait_in(answer)):
            reason = f"status 429, too many requests; try again in {wait:.0f} seconds"
        else:
            reason = f"status {status}" if status else _in_words(causes[-1])
        return UnreachableError(
            reason,
            f"{described} could not be fetched from {constants.ENDPOINT} ({reason}). Check the "
            f"connection, the proxy and HF_ENDPOINT if you set one. {self.by_hand()}",
        )

    def describe(self, name: str) -> str:
        url = f"hf://{self.repo}@{self.revision}"
        return f"{name} of {self.preset} ({url})" if self.preset else f"{name} of {url}"

    def by_hand(self) -> str:
        """Say how to bring the files over from a machine with a connection."""
        folder = "models--" + self.repo.replace("/", "--")
        return (
            f"Or, on a connected machine, run `pip install huggingface_hub` and `hf download "
            f"{self.repo} {' '.join(self.names)} --revision {self.revision} --cache-dir hub`, and "
            f"copy the folder hub/{folder} into {self.cache()}."
        )

    def cache(self) -> Path:
        from huggingface_hub import constants

        return Path(constants.HF_HUB_CACHE if self.cache_dir is None else self.cache_dir)


_OTHER_SERVER = "If HF_ENDPOINT names a mirror or a proxy is between, try without it."


def _refuse_paths(response: Any) -> None:
    """Stop before the Hub client makes a file's path of what a server sent."""
    for header in ("ETag", "X-Linked-Etag", "X-Repo-Commit"):
        value = response.headers.get(header)
        if value is not None and not _FILE_NAME.fullmatch(value.removeprefix("W/").strip('"')):
            raise DownloadError(
                f"{response.request.url} answered with {header}: {value!r}, which cannot be the"
                f" name of a file. {_OTHER_SERVER}"
            )


def _hash_in_cache(path: Path) -> str | None:
    """The hash that a file in the cache came with, as far as the cache keeps it."""
    # A file there is a link to a blob, named by the etag. That is the hash (sha256 of a large file,
    # git's sha1 of a small one), so it is known offline too.
    if path.is_symlink() and _HASH.fullmatch(etag := path.readlink().name):
        return etag
    return None


def _wait_in(error: Any) -> float:
    """The seconds that a server asks to be left in peace, or 0."""
    try:
        return float(error.response.headers.get("Retry-After", 0))
    except ValueError:  # a date
        return 0


def _in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__

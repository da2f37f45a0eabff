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
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
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
from dolg_zoo.weights.manifest import PRESET_FILES, PresetEntry, RemoteFile

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
_QUICK_S = 10


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


def fetch_preset(
    entry: PresetEntry,
    files: Sequence[str] = PRESET_FILES,
    *,
    cache_dir: Path | str | None = None,
) -> RepoSnapshot:
    """Return verified local copies of files of a pinned preset.

    Args:
        entry: the preset; one that has a source.
        files: at least one name of a file of it.
        cache_dir: a Hub cache folder; None means the user's own.

    Raises:
        DownloadError: a file is not in the cache and cannot be had from the Hub.
        ChecksumError: the bytes are wrong, and still so after they were fetched once more.
    """
    source = entry.source
    request = _Request(source.repo, source.revision, tuple(files), entry.name, cache_dir)
    pins = [file for file in entry.remote_files if file.path in request.names]
    paths = [request.pinned(file) for file in pins]
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
    hashes = {name: hash_in_cache(path) for name, path in paths.items()}
    return RepoSnapshot(
        paths[request.names[0]].parent,
        request.revision,
        {name: known for name, known in hashes.items() if known and _SHA256.fullmatch(known)},
    )


def cached_path(
    repo: str, revision: str, name: str, cache_dir: Path | str | None = None
) -> Path | None:
    """Return the file that the cache has under a name, unverified, without asking the Hub.

    A branch stands for the commit that it was at when it was last used.
    """
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repo, name, cache_dir=cache_dir, revision=revision)
    return Path(path) if isinstance(path, str) else None


def hash_in_cache(path: Path) -> str | None:
    """Return the hash that a file in the cache came with, if the cache keeps it."""
    # A file there is a link to a blob, named by the etag. That is the hash (sha256 of a large file,
    # git's sha1 of a small one), so it is known offline too.
    if path.is_symlink() and _HASH.fullmatch(etag := path.readlink().name):
        return etag
    return None


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
        damaged = f"{self.describe(name)} is damaged in the cache ({path}): {problem}."
        if constants.HF_HUB_OFFLINE:
            raise ChecksumError(
                f"{damaged} Unset HF_HUB_OFFLINE to fetch it again. {self.by_hand()}"
            )
        with self.explained(name), WeakFileLock(self.lock_file(path)):
            path = self.cached(name) or self.download(name, promised)
            problem = fault(path)
            if problem is None:
                # Another process has put it right while this one waited for the lock.
                return path
            logger.warning("%s: %s. Fetching it again.", self.describe(name), problem)
            try:
                path = self.download(name, promised, replacing=path)
            except UnreachableError as error:
                raise UnreachableError(error.reason, f"{damaged} {error}") from error
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
        with self.explained(name):
            return cached_path(self.repo, self.revision, name, self.cache_dir)

    def download(
        self,
        name: str,
        promised: RemoteFile | None = None,
        *,
        replacing: Path | None = None,
        patient: bool = True,
    ) -> Path:
        """Return the file in the cache, as huggingface_hub believes it to be."""
        from huggingface_hub import hf_hub_download

        def fetch() -> Path:
            return Path(
                hf_hub_download(
                    self.repo,
                    name,
                    revision=self.revision,
                    cache_dir=self.cache_dir,
                    force_download=replacing is not None,
                )
            )

        with self.explained(name), _guarded_clients(self.describe(name)):
            # huggingface_hub asks the same once more, but it would take 23 seconds to find that
            # there is no network, and download first what is known to be wrong.
            self.check(name, self.ask(name, patient), promised)
            if replacing is not None:
                # Else the Hub client would leave the name pointing at the old bytes.
                replacing.unlink()
            begin = time.monotonic()
            try:
                return fetch()
            except WeightsError:
                raise
            except Exception as error:
                # It resumes a transfer that stalls, but not one that is reset.
                if _storage_problem(error) or time.monotonic() - begin > _QUICK_S:
                    raise
                return fetch()

    def ask(self, name: str, patient: bool) -> HfFileMetadata:
        """Return what the Hub states of a file."""
        from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
        from huggingface_hub.errors import HfHubHTTPError

        url = hf_hub_url(self.repo, name, revision=self.revision)
        timeout = constants.HF_HUB_ETAG_TIMEOUT
        try:
            return get_hf_file_metadata(url, timeout=timeout)
        except HfHubHTTPError as error:
            if not patient or error.response.status_code not in _LATER:
                raise
        return get_hf_file_metadata(url, timeout=timeout, retry_on_errors=True)

    def check(self, name: str, stated: HfFileMetadata, promised: RemoteFile | None) -> None:
        """Refuse an answer that is not of the commit or the file that were asked for."""
        commit = stated.commit_hash or ""
        pinned = _COMMIT.fullmatch(self.revision)
        if not _COMMIT.fullmatch(commit) or (pinned and commit != self.revision):
            expected = self.revision if pinned else "40 hexadecimal digits"
            raise DownloadError(
                f"{self.describe(name)}: the server answered with commit {stated.commit_hash!r},"
                f" expected {expected}. {_OTHER_SERVER}"
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
            now = self.download(name, patient=before is None).parent.name
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
        if known := hash_in_cache(path):
            return known
        from huggingface_hub import HfApi, constants

        if constants.HF_HUB_OFFLINE:
            raise DownloadError(
                f"{self.describe(path.name)} cannot be verified offline: this cache keeps no hash "
                f"beside it ({path}). Unset HF_HUB_OFFLINE, or fetch the repository with "
                f"`hf download {self.repo} --local-dir FOLDER` and use that folder."
            )
        with self.explained(path.name):
            infos = HfApi().get_paths_info(self.repo, path.name, revision=path.parent.name)
        if not infos:
            raise DownloadError(
                f"{self.describe(path.name)} cannot be verified: the server states no hash of it."
                f" {_OTHER_SERVER}"
            )
        return infos[0].lfs.sha256 if infos[0].lfs else infos[0].blob_id

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
        if problem := _storage_problem(error):
            return DownloadError(
                f"{described} cannot be stored in {self.cache()}: {problem.strerror}. Make room or "
                f"set the rights there, or set HF_HOME to another folder."
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


@contextmanager
def _guarded_clients(described: str) -> Iterator[None]:
    """Have the Hub client's answers looked at before it acts on them.

    It makes a file's path of an etag and a commit, and waits for as long as a server asks it to.
    """
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils import _http

    # There is no public name for the factory in force, which may be the user's own. A hook on the
    # client alone would be lost: after an error of the connection the Hub client makes another.
    if (make_client := _http._GLOBAL_CLIENT_FACTORY) not in _guarded_factories:

        def make_guarded_client() -> Any:
            client = make_client()
            client.event_hooks["response"].append(_look_at)
            return client

        _guarded_factories.append(make_guarded_client)
        set_client_factory(make_guarded_client)
    token = _asking_for.set(described)
    try:
        yield
    finally:
        _asking_for.reset(token)


_guarded_factories: list[Callable[[], Any]] = []
_asking_for: ContextVar[str | None] = ContextVar("what is being fetched here", default=None)


def _look_at(response: Any) -> None:
    described = _asking_for.get()
    if described is None:  # a request of someone else's in this process
        return
    for header in ("ETag", "X-Linked-Etag", "X-Repo-Commit"):
        value = response.headers.get(header)
        if value is not None and not _FILE_NAME.fullmatch(value.removeprefix("W/").strip('"')):
            raise DownloadError(
                f"{described}: the server answered with {header}: {value!r}, which cannot be the"
                f" name of a file. {_OTHER_SERVER}"
            )
    wait = response.headers.get("Retry-After", "")
    if response.status_code in _LATER and wait.isdecimal() and int(wait) > _PATIENCE_S:
        reason = f"status {response.status_code}, try again in {wait} seconds"
        raise UnreachableError(reason, f"{described}: the server is busy ({reason}).")


def _storage_problem(error: BaseException) -> OSError | None:
    errors = (cause for cause in _causes(error) if isinstance(cause, OSError))
    return next((cause for cause in errors if cause.errno in _CANNOT_STORE), None)


def _in_words(error: BaseException) -> str:
    # The first line: what follows is advice for who called the Hub client.
    return f"{type(error).__name__}: {error}".split("\n")[0].removesuffix(": ")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__

"""Files from the Hub or its cache, each verified before it is used."""

from __future__ import annotations

import errno
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dolg_zoo._util.hashing import fault_in, is_sha256
from dolg_zoo._util.imports import import_fault
from dolg_zoo.errors import ChecksumError, DownloadError, UnreachableError, WeightsError
from dolg_zoo.weights.hub.guard import LATER, OTHER_SERVER, guarded_clients
from dolg_zoo.weights.manifest import RemoteFile

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata

logger = logging.getLogger(__name__)

COMMIT = re.compile(r"[0-9a-f]{40}")
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_QUICK_S = 10
_CANNOT_STORE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS}


@dataclass(frozen=True)
class Request:
    """Some files of a repository at a revision, and the preset they are for, if it has a name."""

    repo: str
    revision: str
    names: tuple[str, ...]
    preset: str | None = None
    cache_dir: Path | str | None = None  # None: the user's own

    def verified(self, name: str, pin: RemoteFile | None = None) -> Path:
        """Return a file with the pinned or the Hub's stated hash; download a damaged file again.

        Raises:
            DownloadError: it is not in the cache and cannot be downloaded.
            ChecksumError: the hash differs, even after a second download.
        """
        from huggingface_hub import constants
        from huggingface_hub.utils import WeakFileLock

        def fault(path: Path) -> str | None:
            if pin is None:
                return fault_in(path, self.stated_hash(path))
            return fault_in(path, pin.sha256, pin.size)

        def look() -> tuple[Path, str | None]:
            path = self.cached(name) or self.download(name, pin)
            return path, fault(path)

        path, problem = look()
        if problem is None:
            return path
        damaged = f"{self.describe(name)} is damaged in the cache ({path}): {problem}."
        if constants.HF_HUB_OFFLINE:
            raise ChecksumError(
                f"{damaged} Unset HF_HUB_OFFLINE to fetch it again. {self.by_hand()}"
            )
        with self.explained(name), WeakFileLock(self.lock_file(path)):
            path, problem = look()
            if problem is None:
                # Another process has repaired it.
                return path
            logger.warning("%s: %s. Fetching it again.", self.describe(name), problem)
            try:
                path = self.download(name, pin, replacing=path)
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
        """Return the cached file of a name, at the commit or at the branch's last used commit."""
        with self.explained(name):
            return cached_path(self.repo, self.revision, name, self.cache_dir)

    def download(
        self,
        name: str,
        pin: RemoteFile | None = None,
        *,
        replacing: Path | None = None,
        patient: bool = True,
    ) -> Path:
        """Download a file with huggingface_hub; return its path in the cache, not verified."""
        from huggingface_hub import hf_hub_download

        fetch = partial(
            hf_hub_download,
            self.repo,
            name,
            revision=self.revision,
            cache_dir=self.cache_dir,
            force_download=replacing is not None,
        )
        with self.explained(name), guarded_clients(self.describe(name)):
            # huggingface_hub asks the same once more. But alone it would take 23 seconds to find
            # that there is no network, and would download a file that is known to be wrong.
            self.check(name, self.ask(name, patient), pin)
            if replacing is not None:
                # Else the Hub client would leave the name pointing at the old bytes.
                replacing.unlink(missing_ok=True)
            begin = time.monotonic()
            try:
                return Path(fetch())
            except WeightsError:
                raise
            except Exception as error:
                # It resumes a transfer that stalls, but not one that is reset.
                if storage_problem(error) or time.monotonic() - begin > _QUICK_S:
                    raise
                return Path(fetch())

    def ask(self, name: str, patient: bool) -> HfFileMetadata:
        """Return the Hub's statement about a file: its commit, hash and size."""
        from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
        from huggingface_hub.errors import HfHubHTTPError

        url = hf_hub_url(self.repo, name, revision=self.revision)
        timeout = constants.HF_HUB_ETAG_TIMEOUT
        try:
            return get_hf_file_metadata(url, timeout=timeout)
        except HfHubHTTPError as error:
            if not patient or error.response.status_code not in LATER:
                raise
        return get_hf_file_metadata(url, timeout=timeout, retry_on_errors=True)

    def check(self, name: str, stated: HfFileMetadata, pin: RemoteFile | None) -> None:
        """Refuse an answer for another commit or file than requested."""
        commit = stated.commit_hash or ""
        pinned = COMMIT.fullmatch(self.revision)
        if not COMMIT.fullmatch(commit) or (pinned and commit != self.revision):
            expected = self.revision if pinned else "40 hexadecimal digits"
            raise DownloadError(
                f"{self.describe(name)}: the server answered with commit {stated.commit_hash!r},"
                f" expected {expected}. {OTHER_SERVER}"
            )
        if pin is None:
            return
        if stated.size not in (None, pin.size):
            problem = f"{stated.size} bytes, expected {pin.size}"
        elif stated.etag != pin.sha256 and is_sha256(stated.etag):
            problem = f"the sha256 {stated.etag}, expected {pin.sha256}"
        else:
            return
        raise ChecksumError(
            f"{self.describe(name)} was not downloaded: the server states {problem}. {OTHER_SERVER}"
        )

    def resolved(self) -> Request:
        """Return the same request at the commit that its branch or tag names."""
        name = self.names[0]
        # The Hub client puts a file in a folder named by the commit.
        path = self.cached(name)
        before = None if path is None else path.parent.name
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
        # so that the commit can be pinned
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
        return replace(self, revision=now)

    def stated_hash(self, path: Path) -> str:
        """Return the hash that the Hub states for a cached file."""
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
                f" {OTHER_SERVER}"
            )
        info: Any = infos[0]  # of a file: a folder has no such name
        return info.lfs.sha256 if info.lfs else info.blob_id

    def lock_file(self, path: Path) -> Path:
        """Return the lock file for the repair of a damaged file."""
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
        """Turn the Hub client's errors into one DownloadError that says what to do."""
        try:
            yield
        except WeightsError:
            raise
        except Exception as error:
            # Any class: those of the HTTP library and of the transfer backend beneath the client
            # have no common base, and change with its releases.
            raise import_fault(error) or self.explanation(name, error) from error

    def explanation(self, name: str, error: Exception) -> DownloadError:
        """Explain an error of the Hub client to the user."""
        from huggingface_hub import constants, errors

        described = self.describe(name)
        causes = list(causes_of(error))
        if problem := storage_problem(error):
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
        # the first line: the rest is advice for who called the Hub client
        last = f"{type(causes[-1]).__name__}: {causes[-1]}".partition("\n")[0].removesuffix(": ")
        reason = f"status {status}" if status else last
        return UnreachableError(
            reason,
            f"{described} could not be fetched from {constants.ENDPOINT} ({reason}). Check the "
            f"connection, the proxy and HF_ENDPOINT if you set one. {self.by_hand()}",
        )

    def describe(self, name: str) -> str:
        """Name a file with its preset and its place on the Hub."""
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
        """Return the Hub client's cache folder."""
        from huggingface_hub import constants

        return Path(constants.HF_HUB_CACHE if self.cache_dir is None else self.cache_dir)


def cached_path(
    repo: str, revision: str, name: str, cache_dir: Path | str | None = None
) -> Path | None:
    """Return a cached file, unverified, without the Hub; a branch is its last used commit."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repo, name, cache_dir=cache_dir, revision=revision)
    return Path(path) if isinstance(path, str) else None


def hash_in_cache(path: Path) -> str | None:
    """Return the hash that the Hub stated for a cached file, if the cache has it."""
    # A file there is a link to a blob, named by the etag. That is the hash (sha256 of a large file,
    # git's sha1 of a small one), so it is known offline too.
    try:
        etag = path.readlink().name
    except OSError:  # it is no link, or gone while another process puts it right
        return None
    return etag if _HASH.fullmatch(etag) else None


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes, one after another."""
    while error is not None:
        yield error
        error = error.__cause__


def storage_problem(error: BaseException) -> OSError | None:
    """Return the error of the disk or its permissions among an error's causes, or None."""
    errors = (cause for cause in causes_of(error) if isinstance(cause, OSError))
    return next((cause for cause in errors if cause.errno in _CANNOT_STORE), None)

"""A requested file of the Hub, and the messages if it cannot be downloaded."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dolg_zoo._util.imports import import_fault
from dolg_zoo.errors import DownloadError, UnreachableError, WeightsError

_CANNOT_STORE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS}


@dataclass(frozen=True)
class Wanted:
    """Some files of a repository at a revision, and the preset they are for, if it has a name."""

    repo: str
    revision: str
    names: tuple[str, ...]
    preset: str | None
    cache_dir: Path | str | None

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
        reason = f"status {status}" if status else _in_words(causes[-1])
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


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes, one after another."""
    while error is not None:
        yield error
        error = error.__cause__


def storage_problem(error: BaseException) -> OSError | None:
    """Return the error of the disk or its permissions among an error's causes, or None."""
    errors = (cause for cause in causes_of(error) if isinstance(cause, OSError))
    return next((cause for cause in errors if cause.errno in _CANNOT_STORE), None)


def _in_words(error: BaseException) -> str:
    # The first line: what follows is advice for who called the Hub client.
    return f"{type(error).__name__}: {error}".split("\n")[0].removesuffix(": ")

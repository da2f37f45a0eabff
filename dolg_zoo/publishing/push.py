"""Publish a preset to the Hub in one commit: all files or none.

huggingface_hub is imported when it is first needed: it reads its environment at import.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from dolg_zoo._util.hashing import fault_in
from dolg_zoo._util.imports import import_fault
from dolg_zoo.errors import PublishError, WeightsError
from dolg_zoo.presets.files import REPORT
from dolg_zoo.publishing.staging import Staged, stage
from dolg_zoo.weights import fetch_repo
from dolg_zoo.weights.hub.request import causes_of
from dolg_zoo.weights.manifest import MARGIN_HEAD

if TYPE_CHECKING:
    import keras
    from huggingface_hub.hf_api import ModelInfo

    from dolg_zoo.embedders.dolg import DOLG

LOG_IN = "log in with `hf auth login`, or set HF_TOKEN to a token that may write"
NOTHING = "Nothing was published."
# files of an earlier version of the preset that the new version may lack
OPTIONAL = (MARGIN_HEAD, REPORT)


@dataclass(frozen=True)
class Published:
    """A preset that is on the Hub, and was read back from there."""

    repo: str  # `user/name`
    commit: str  # 40 hexadecimal digits; hf://{repo}@{commit} is this preset for good
    url: str  # the page of that commit's files
    entry: dict[str, Any]  # for weights_manifest.json, as it stands in JSON


def push_to_hub(
    preset: str | Path | DOLG,
    repo_id: str,
    *,
    metadata: Mapping[str, Any] | None = None,
    private: bool = False,
    message: str | None = None,
    margin_head: keras.layers.Layer | None = None,
) -> Published:
    """Publish a preset on the Hugging Face Hub, for `DOLG.from_preset("hf://user/name")`.

    The preset's own files, a model card and a picture of the network go there in one commit, so
    that nobody sees a part of it. Then all files are downloaded again and compared. No commit is
    made if the Hub has the same files already.

    ```python
    dolg_zoo.push_to_hub(
        "my-dolg",
        "me/my-dolg",
        metadata={
            "description": "Finds the bridges of Prague.",
            "dataset": "my photographs of 40 bridges",
            "license": "CC-BY-4.0",
            "provenance": "Fine-tuned from the embedded preset for 20 epochs.",
        },
    )
    ```

    Args:
        preset: a folder that `save_to_preset` wrote; its other files are not sent. Or a model.
        repo_id: `user/name`; it is created if necessary.
        metadata: values that replace or complete those of the preset's metadata.json:
            name, description, dataset, license (an SPDX expression), license_note, provenance,
            limits, intended_use, derived_from and figures_note, all texts; and figures, a list of
            `{"value", "metric", "dataset", "source"}` and optionally "note". Description, dataset,
            license and provenance must be stated in the one place or the other.
        private: whether only you may see it.
        message: the message of the commit.
        margin_head: with a model, the head of `dolg_zoo.layers.MARGIN_HEADS` that it was trained
            under, for those who train on.

    Raises:
        PresetError: if the preset does not load; nothing is sent then.
        PublishError: if metadata is missing, the Hub cannot be reached or refuses, or the
            downloaded files differ from those that were sent. The message says whether anything
            was published.
    """
    check_repo(repo_id)
    with TemporaryDirectory(prefix="dolg-zoo-", ignore_cleanup_errors=True) as folder:
        staged = stage(preset, repo_id, Path(folder), metadata=metadata, margin_head=margin_head)
        commit, before = _commit(staged, private=private, message=message)
        _check_published(staged, commit, before)
    from huggingface_hub import constants

    url = f"{constants.ENDPOINT}/{repo_id}/tree/{commit}"
    return Published(repo_id, commit, url, staged.entry(commit))


def check_repo(repo: str) -> None:
    """Raise PublishError, before any work, for a bad repository name, offline mode or no login."""
    from huggingface_hub import constants, get_token
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
        if "/" not in repo:
            raise ValueError("it lacks the user or organisation")
    except ValueError as error:
        raise PublishError(
            f"{repo!r} names no Hub repository: {error}; write it as user/name."
        ) from error
    if constants.HF_HUB_OFFLINE:
        raise PublishError(f"{repo}: HF_HUB_OFFLINE forbids to ask the Hub; unset it. {NOTHING}")
    with _explained(repo):
        token = get_token()
    if token is None:
        raise PublishError(f"{repo}: you are not logged in; {LOG_IN}. {NOTHING}")


def _commit(staged: Staged, *, private: bool, message: str | None) -> tuple[str, str | None]:
    """Make a repository equal to the staged files in one commit, or none if it is already.

    Returns:
        The hash of the commit, and that of the commit before it, if there was one.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api, repo = HfApi(), staged.repo
    with _explained(repo):
        api.create_repo(repo, private=private, exist_ok=True)
        info = api.model_info(repo)
    if private and not info.private:
        raise PublishError(
            f"{repo} is there already, and is public: make it private in its settings, or choose"
            f" another name. {NOTHING}"
        )
    there = {sibling.rfilename for sibling in info.siblings or ()}
    stale = [name for name in OPTIONAL if name in there and name not in staged.files]
    with _explained(repo, info):
        commit = api.create_commit(
            repo,
            [CommitOperationAdd(name, staged.folder / name) for name in staged.files]
            + [CommitOperationDelete(name) for name in stale],
            commit_message=message or f"Publish {repo.split('/')[1]} with dolg-zoo",
            parent_commit=info.sha,
        )
    return commit.oid, info.sha


def _check_published(staged: Staged, commit: str, before: str | None) -> None:
    """Download the published files and compare them with the staged ones; raise PublishError."""
    there = f"{staged.repo} at commit {commit}"
    restore = f" The commit before it is {before}." if before not in (None, commit) else ""
    with TemporaryDirectory(prefix="dolg-zoo-", ignore_cleanup_errors=True) as cache:
        try:
            published = fetch_repo(
                staged.repo, list(staged.files), revision=commit, cache_dir=Path(cache)
            )
        except WeightsError as error:
            raise PublishError(
                f"{there} was published, but could not be read back: {error} Until it can be,"
                f" do not rely on it; publishing again only checks it again.{restore}"
            ) from error
        for name, expected in staged.files.items():
            fault = fault_in(published.folder / name, expected.sha256, expected.size)
            if fault:
                raise PublishError(
                    f"{there} was published, but its {name} is not the one that was sent: {fault}."
                    f" Revert that commit, or delete the repository.{restore}"
                )


@contextmanager
def _explained(repo: str, before: ModelInfo | None = None) -> Iterator[None]:
    """Turn errors of the Hub client into one PublishError that says what to do."""
    # `before` is the repository's state before the attempted commit, if there is one
    try:
        yield
    except Exception as error:
        # Any class: those of the HTTP library and of the transfer backend beneath the client have
        # no common base, and change with its releases.
        if fault := import_fault(error):
            raise fault from error
        done = NOTHING if before is None else _state_after_failure(repo, before)
        raise PublishError(_without_token(f"{repo}: {_reason(error)}. {done}")) from error


def _reason(error: Exception) -> str:
    from huggingface_hub import constants, errors

    if isinstance(error, ValueError) and not isinstance(error, errors.HfHubHTTPError):
        return f"the Hub did not take it: {' '.join(str(error).split())}"
    causes = list(causes_of(error))
    answer = next((cause for cause in causes if isinstance(cause, errors.HfHubHTTPError)), None)
    if answer is None:
        last = causes[-1]
        return (
            f"{constants.ENDPOINT} could not be reached, or hung up ({type(last).__name__}:"
            f" {last}); check the connection, the proxy and HF_ENDPOINT if you set one, and try"
            " again"
        )
    status = answer.response.status_code
    said = f" ({answer.server_message})" if answer.server_message else ""
    if status == 401 and not isinstance(answer, errors.RepositoryNotFoundError):
        return f"the Hub does not accept your token{said}; {LOG_IN}"
    advice = {
        402: "the account lacks the plan or the credit for it",
        403: "your token may not write there, or the namespace is not yours; check the name, and"
        f" {LOG_IN}",
        409: "the repository is being changed by another, or is something else than a model; try"
        " again, or choose another name",
        412: "someone else has changed the repository meanwhile; look at it, and try again",
        413: "the account's or the repository's room does not suffice",
        429: "the Hub asks for a pause; try again later",
    }
    if isinstance(answer, errors.RepositoryNotFoundError) or status == 404:
        words = f"the Hub shows no such model repository to you; check the name, and {LOG_IN}"
    else:
        words = advice.get(status, "the Hub failed or refused; try again later")
    return f"{words} (status {status}){said}"


def _state_after_failure(repo: str, before: ModelInfo) -> str:
    """Return a sentence that says whether a commit that seemed to fail was made."""
    from huggingface_hub import HfApi

    try:
        now = HfApi().model_info(repo, timeout=10).sha
    except Exception:
        return (
            "Whether it was published is not known, since the Hub does not answer; publishing again"
            " makes no second commit if it was."
        )
    if now == before.sha:
        return f"{NOTHING} The repository is as it was, at commit {now}."
    return (
        f"The repository was at commit {before.sha} and is now at {now}: publishing again makes no"
        " second commit if that is yours."
    )


def _without_token(message: str) -> str:
    """Return the message without the token, which a server may have repeated."""
    from huggingface_hub import get_token

    try:
        token = get_token()
    except Exception:  # it is what failed
        return message
    return message.replace(token, "…") if token else message

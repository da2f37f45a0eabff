"""Check a server's answers before the Hub client acts on them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from dolg_zoo.errors import DownloadError, UnreachableError

LATER = {429, 500, 502, 503, 504}
"""Statuses of a busy server: a later request may succeed."""

OTHER_SERVER = "If HF_ENDPOINT names a mirror or a proxy is between, try without it."

_FILE_NAME = re.compile(r"\w[\w.-]*", re.ASCII)
_PATIENCE_S = 30


@contextmanager
def guarded_clients(described: str) -> Iterator[None]:
    """Check the answers of the Hub before its client acts on them."""
    # The client makes paths of an etag and a commit, and waits as long as a server says.
    # RuntimeError: this huggingface_hub does not use the guarded client.
    import huggingface_hub
    from huggingface_hub import get_session, set_client_factory
    from huggingface_hub.utils import _http

    # There is no public name for the factory in force, which may be the user's own. A hook on the
    # client alone would be lost: after an error of the connection the Hub client makes another.
    if not hasattr(make_client := _http._GLOBAL_CLIENT_FACTORY, "is_guarded"):

        def make_guarded_client() -> Any:
            client = make_client()
            if _look_at not in (hooks := client.event_hooks["response"]):
                hooks.append(_look_at)
            return client

        make_guarded_client.is_guarded = True  # type: ignore[attr-defined]
        set_client_factory(make_guarded_client)
    if _look_at not in get_session().event_hooks["response"]:
        raise RuntimeError(
            f"huggingface_hub {huggingface_hub.__version__} does not use the client that checks a"
            " server's answers, so nothing is downloaded. Install dolg-zoo again with pip, which"
            " installs a version that it works with."
        )
    token = _asking_for.set(described)
    try:
        yield
    finally:
        _asking_for.reset(token)


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
                f" name of a file. {OTHER_SERVER}"
            )
    if response.status_code in LATER and (wait := _asked_to_wait(response)) > _PATIENCE_S:
        reason = f"status {response.status_code}, try again in {wait} seconds"
        raise UnreachableError(reason, f"{described}: the server is busy ({reason}).")


def _asked_to_wait(response: Any) -> int:
    """Return the seconds that the Hub client would wait, by either header that it reads."""
    from huggingface_hub.utils import parse_ratelimit_headers

    limit = parse_ratelimit_headers(response.headers)
    if limit is not None and limit.remaining == 0:
        return limit.reset_in_seconds
    wait = response.headers.get("Retry-After", "")
    return int(wait) if wait.isdecimal() else 0

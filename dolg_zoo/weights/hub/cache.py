"""The Hub client's cache, asked without the Hub."""

from __future__ import annotations

import re
from pathlib import Path

_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def cached_path(
    repo: str, revision: str, name: str, cache_dir: Path | str | None = None
) -> Path | None:
    """Return a cached file, unverified, without the Hub; a branch is its last used commit."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repo, name, cache_dir=cache_dir, revision=revision)
    return Path(path) if isinstance(path, str) else None


def hash_in_cache(path: Path) -> str | None:
    """Return the hash that a file in the cache came with, if the cache keeps it."""
    # A file there is a link to a blob, named by the etag. That is the hash (sha256 of a large file,
    # git's sha1 of a small one), so it is known offline too.
    try:
        etag = path.readlink().name
    except OSError:  # it is no link, or gone while another process puts it right
        return None
    return etag if _HASH.fullmatch(etag) else None

"""Hashes of files, read piece by piece: weights are larger than memory should have to hold."""

from __future__ import annotations

import hashlib
from pathlib import Path

_PIECE = 1 << 20


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's bytes, as 64 lower-case hexadecimal digits."""
    return _digest(path, hashlib.sha256())


def blake2b_of(path: Path) -> str:
    """Return the BLAKE2b hash of a file's bytes, as 32 lower-case hexadecimal digits."""
    return _digest(path, hashlib.blake2b(digest_size=16))


def git_blob_sha1_of(path: Path) -> str:
    """Return git's hash of a file (40 hex digits), which the Hub states for small files."""
    header = b"blob %d\0" % path.stat().st_size
    return _digest(path, hashlib.sha1(header, usedforsecurity=False))


def fault_in(path: Path, expected: str, size: int | None = None) -> str | None:
    """Compare a file with its sha256 or git blob sha1; return the difference in words, or None."""
    # a wrong `size` in bytes is found without hashing
    name, hash_of = ("git sha1", git_blob_sha1_of) if len(expected) == 40 else ("sha256", sha256_of)
    if absent := absence_of(path):  # a pipe would hang
        return absent
    try:
        actual_size = path.stat().st_size
        if size is not None and actual_size != size:
            return f"it has {actual_size} bytes, expected {size}"
        actual = hash_of(path)
    except FileNotFoundError:  # another process may just be putting it right
        return "it is missing"
    return None if actual == expected else f"its {name} is {actual}, expected {expected}"


def absence_of(path: Path) -> str | None:
    """Say in words that there is no file at a path, or return None."""
    if path.is_file():
        return None
    return "it is no file" if path.exists() else "it is missing"


def _digest(path: Path, digest: hashlib._Hash | hashlib.blake2b) -> str:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()

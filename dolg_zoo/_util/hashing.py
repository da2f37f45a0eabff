"""Hashes of files, read in blocks, since weights may not fit in memory."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TypeGuard

_PIECE = 1 << 20


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's bytes, as 64 lower-case hexadecimal digits."""
    return _digest(path, hashlib.sha256())


def blake2b_of(path: Path) -> str:
    """Return the BLAKE2b hash of a file's bytes, as 32 lower-case hexadecimal digits."""
    return _digest(path, hashlib.blake2b(digest_size=16))


def git_blob_sha1_of(path: Path) -> str:
    """Return git's hash of a file (40 hex digits), which the Hub gives for small files."""
    header = b"blob %d\0" % path.stat().st_size
    return _digest(path, hashlib.sha1(header, usedforsecurity=False))


def fault_in(file: Path | bytes, expected: str, size: int | None = None) -> str | None:
    """Return how a file, or bytes, differs from a sha256 or git blob sha1; None if it does not.

    A wrong `size` in bytes is detected without hashing.
    """
    name = "git sha1" if len(expected) == 40 else "sha256"
    try:
        if not isinstance(file, Path):
            actual = hashlib.sha256(file).hexdigest()
        elif fault := absence_of(file, size):  # a pipe would hang
            return fault
        else:
            actual = (git_blob_sha1_of if name == "git sha1" else sha256_of)(file)
    except FileNotFoundError:  # another process may just be replacing it
        return "it is missing"
    return None if actual == expected else f"its {name} is {actual}, expected {expected}"


def absence_of(path: Path, size: int | None = None) -> str | None:
    """Return why there is no file of that size in bytes at a path; None if there is."""
    if not path.is_file():
        return "it is not a file" if path.exists() else "it is missing"
    actual = path.stat().st_size
    return None if size in (None, actual) else f"it has {actual} bytes, expected {size}"


def is_sha256(value: object) -> TypeGuard[str]:
    """Return whether a value is 64 lower-case hexadecimal digits."""
    return isinstance(value, str) and bool(re.fullmatch(r"[0-9a-f]{64}", value))


def _digest(path: Path, digest: hashlib._Hash | hashlib.blake2b) -> str:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()

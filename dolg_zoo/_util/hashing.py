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
    """Return the name git gives to a file's bytes, as 40 lower-case hexadecimal digits.

    The Hub states this one for files that are small enough to lie in git itself.
    """
    header = b"blob %d\0" % path.stat().st_size
    return _digest(path, hashlib.sha1(header, usedforsecurity=False))


def fault_in(path: Path, expected: str, size: int | None = None) -> str | None:
    """Compare a file with what was promised of it.

    Args:
        path: the file.
        expected: its sha256 (64 hexadecimal digits) or git blob sha1 (40).
        size: its size in bytes, if known: a wrong one spares the hashing.

    Returns:
        What is wrong, in words, or None.
    """
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

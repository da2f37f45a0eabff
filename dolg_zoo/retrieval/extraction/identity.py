"""Recognise an unchanged image by facts about its file (fast), or by its content.

The descriptor cache, the store and the index have the same record of each image.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from dolg_zoo._util.hashing import blake2b_of
from dolg_zoo.errors import ImagesAwayError
from dolg_zoo.preprocessing.crop import Crop

RACY_NS = 3 * 10**9
"""A file that changed within this time may change again without new file times."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The record of an image."""

    digest: str  # hash of the content; empty in files of old versions
    facts: str  # size, times and inode; empty if uncertain; without a digest: time of writing, ns

    @classmethod
    def parse(cls, text: str | None, written_ns: int = 0) -> Identity:
        """Parse the text of a record; without one, return a record with the time of writing."""
        digest, _, facts = (text or "").partition(" ")
        if not digest and not (facts.isdecimal() and len(facts) < 20):
            facts = str(written_ns)
        return cls(digest, facts)

    def __str__(self) -> str:
        """Return the text of the record for files."""
        return f"{self.digest} {self.facts}"

    def is_content_of(self, now: Identity) -> bool:
        """Return whether an image still has the same content."""
        if self.digest or not now.facts:
            return self.digest == now.digest
        return int(now.facts.split()[1]) < int(self.facts)  # when it last changed


@dataclass(frozen=True)
class Changes:
    """The numbers of images that an update added, changed, removed and kept (or only renamed)."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    kept: int = 0

    def __str__(self) -> str:
        """Return the counts as every command prints them."""
        return ", ".join(f"{count} {name}" for name, count in asdict(self).items())

    @staticmethod
    def renamed(gone: Mapping[str, str], new: Iterable[str]) -> set[str]:
        """Return the missing images (name to content) that have new names; `new` are contents."""
        # Each new image takes over one missing image at most.
        unmatched = Counter(new)
        names = set()
        for name, content in gone.items():
            if unmatched[content]:
                unmatched[content] -= 1
                names.add(name)
        return names


class Known:
    """The records of a store's images; contains (id, facts) of unchanged images."""

    # `unseen` are the ids in `own` that were not looked up yet.

    def __init__(self, identities: Mapping[str, Identity], own: Iterable[str] = ()) -> None:
        self.identities = identities
        self.unseen = set(own)
        self._ids: dict[str, str] = {}

    def __contains__(self, image: object) -> bool:
        id, facts = cast("tuple[str, str]", image)
        self.unseen.discard(id)
        old = self.identities.get(id)
        return bool(facts) and old is not None and bool(old.digest) and old.facts == facts

    def twin(self, id: str, now: Identity) -> str | None:
        """Return the id of an image with the same content, its own id first, or None."""
        old = self.identities.get(id)
        if old is not None and old.is_content_of(now):
            return id
        if not self._ids:
            self._ids = {identity.digest: id for id, identity in self.identities.items()}
        return self._ids.get(now.digest)


def identity_of(content: Path | Crop | bytes, facts: str | None = None) -> Identity:
    """Read an image and return its record."""
    if isinstance(content, Crop):
        whole = identity_of(cast("Path", content.source), facts)
        return Identity(f"{whole.digest}@{','.join(map(str, content.box))}", whole.facts)
    if isinstance(content, bytes):
        return Identity(hashlib.blake2b(content, digest_size=16).hexdigest(), facts or "")
    facts = facts_of(content) if facts is None else facts  # first: the content may change now
    if not content.is_file():  # a pipe would hang
        raise OSError("it is not a regular file")
    return Identity(blake2b_of(content), facts)


def text_of(path: Path) -> str:
    """Return the record of an image as a text; empty if it cannot be read."""
    try:
        return str(identity_of(path))
    except OSError:
        return ""


def facts_of(path: str | Path) -> str:
    """Return size, times and inode of a file; empty if they cannot show a change."""
    # No program can set an inode's change time, so it shows new content even if size and
    # modification time are the same (`cp -p`, `rsync -t`, `touch -r`). Windows has no such time.
    try:
        status = os.stat(path)  # noqa: PTH116 - a Path for each of a million names takes seconds
    except OSError:  # the reader of the file reports the reason
        return ""
    if os.name == "nt" or status.st_ctime_ns > time.time_ns() - RACY_NS:
        return ""
    return f"{status.st_size} {status.st_ctime_ns} {status.st_mtime_ns} {status.st_ino}"


def check_gone(
    gone: Collection[str], total: int, folder: str | Path, remove_missing: bool = False
) -> None:
    """Raise ImagesAwayError if missing images (`gone`, of `total`) may come back."""
    # They may if a link is broken, a folder is unreadable or empty, or over half of the images are
    # missing. `remove_missing` switches the check off.
    if remove_missing:
        return
    reasons: dict[str, str] = {}
    for name in gone:
        path = Path(folder, name)
        for part in (*reversed(path.parents[: name.count("/") + 1]), path):
            if str(part) in reasons or (reason := _why_away(part, part is path)):
                reasons.setdefault(str(part), reason)
                break
    if not reasons and 2 * len(gone) > total:
        reasons[str(folder)] = f"{len(gone)} of {total} images are gone at once"
    if reasons:
        details = "; ".join(f"{path!r}: {reason}" for path, reason in [*reasons.items()][:5])
        raise ImagesAwayError(
            f"Nothing was removed: {len(gone)} images are not found, and may be away for a while:"
            f" {details}. Bring them back, or remove them from the result with --remove-missing"
            " (remove_missing=True)."
        )


def _why_away(path: Path, is_image: bool) -> str:
    try:
        if not os.path.lexists(path):
            return ""
        if not path.exists():
            return "the link leads nowhere"
        if is_image or path.is_file():  # an image or a tar file
            with path.open("rb"):
                return ""
        with os.scandir(path) as scan:
            return "" if any(scan) else "the folder is empty"
    except OSError as error:
        return error.strerror or str(error)


def shard_of(id: str, shards: Container[str]) -> str | None:
    """Return the tar file that an image's id names, or None."""
    parts = id.split("/")
    names = ("/".join(parts[:end]) for end in range(1, len(parts)))
    return next((name for name in names if name in shards), None)

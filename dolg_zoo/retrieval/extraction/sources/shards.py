"""Images in WebDataset tar files; nothing is unpacked to the disk."""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Container, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from dolg_zoo._util.outputs import is_own_picture
from dolg_zoo.errors import BadImageError
from dolg_zoo.preprocessing import IMAGE_SUFFIXES, PassedOver
from dolg_zoo.preprocessing.patterns import is_set_aside
from dolg_zoo.retrieval.extraction.identity import facts_of, shard_of

MAX_MEMBER_BYTES = 2**27
"""The most bytes of an image in a shard: memory holds dozens of images before they are decoded."""


class Shards:
    """Images in tar files: the regular files whose names end in one of `IMAGE_SUFFIXES`."""

    # As in `list_images`, hidden files and the operating system's own files do not count. The id
    # of an image is the shard's name and its name: `shard-000000.tar/key.jpg`.

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder = folder
        self.names = names
        self.passed_over = PassedOver()  # empty: other files in a shard belong to its images
        self.faults: dict[str, str] = {}  # shards not read to their end, each with the reason

    def missing(self, known: Container[tuple[str, str]]) -> None:
        """Return None: the number of images is unknown until all shards are read."""

    def items(
        self, known: Container[tuple[str, str]] = ()
    ) -> Iterator[tuple[str, str, bytes | BadImageError]]:
        """Yield id, facts and bytes of each image whose id and facts are not known, by shards.

        The facts are the facts of the shard. An error in place of the bytes says why an image
        cannot be read.
        """
        self.faults.clear()
        for name in self.names:
            try:
                yield from _items(self.folder / name, name, known)
            except _ShardError as error:
                self.faults[name] = str(error)

    def lacks(self, id: str) -> bool:
        """Return whether the image is gone: it was not in its shard, which was read to the end."""
        shard = shard_of(id, self.names)
        return shard is not None and shard not in self.faults


class _ShardError(Exception):
    pass


class _Header(tarfile.TarInfo):
    """A tar header that raises for damage or a missing end mark; tarfile takes both for the end."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Any:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error}; it is damaged or cut short") from error


def _items(
    path: Path, shard: str, known: Container[tuple[str, str]]
) -> Iterator[tuple[str, str, bytes | BadImageError]]:
    members, facts = _members(path), facts_of(path)
    while (entry := _next(members)) is not None:
        archive, member = entry
        name = posixpath.normpath(member.name)
        image = f"{shard}/{name}"
        if not _is_image(PurePosixPath(name)) or (image, facts) in known:
            continue
        content = _content(archive, member, name, image)
        if isinstance(content, BadImageError) or not is_own_picture(content):
            yield image, facts, content


def _is_image(name: PurePosixPath) -> bool:
    return name.suffix.lower() in IMAGE_SUFFIXES and not any(
        is_set_aside(part) for part in name.parts if part != ".."
    )


def _members(path: Path) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    with tarfile.open(path, tarinfo=_Header) as archive:
        if archive.firstmember is None:  # type: ignore[attr-defined] # Python 3.10 would seek to -1
            return
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined] # else memory grows with the file
            if not member.isdir():
                yield archive, member


def _next(members: Iterator[Any]) -> tuple[tarfile.TarFile, tarfile.TarInfo] | None:
    try:
        return next(members, None)
    except Exception as error:  # tarfile and the decompressors raise a dozen types
        raise _ShardError(_in_words(error)) from error


def _content(
    archive: tarfile.TarFile, member: tarfile.TarInfo, name: str, image: str
) -> bytes | BadImageError:
    if name.startswith(("/", "../")):
        return BadImageError(image, "its name leads out of the shard")
    if not member.isreg() or member.issparse():
        return BadImageError(image, "it is not a regular file in the shard but a link or a device")
    if member.size > MAX_MEMBER_BYTES:
        return BadImageError(
            image, f"its {member.size} bytes are more than the limit of {MAX_MEMBER_BYTES}"
        )
    try:
        return cast("IO[bytes]", archive.extractfile(member)).read()  # it is a regular file
    except Exception as error:
        raise _ShardError(_in_words(error)) from error


def _in_words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__

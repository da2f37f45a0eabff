"""PyTorch's format since 1.6: a zip archive with a pickle and an entry for each storage."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dolg_zoo.checkpoints.readers import pytorch
from dolg_zoo.checkpoints.readers.arrays import Region
from dolg_zoo.checkpoints.readers.faults import DamagedError, FileError, UnsupportedError, shown
from dolg_zoo.checkpoints.readers.restricted_pickle import Bytes

# zipfile makes an object of some 700 bytes from an entry of 60 bytes.
_MAX_DIRECTORY = 8 << 20
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_ENCRYPTED, _SIZES_FOLLOW, _UTF8 = 0x1, 0x8, 0x800
_IN_EXTRA_FIELD = 0xFFFFFFFF


def read(file: np.memmap, path: Path) -> dict[str, np.ndarray]:
    """Read the state dict of a zip archive."""
    archive = _Archive(file, path)
    root = archive.root()
    if order := archive.entries.get(f"{root}/byteorder"):
        start, size = order.region
        if bytes(file[start : start + min(size, 64)]) != b"little":
            raise UnsupportedError("was written on a big-endian machine")
    start, size = archive.verified(f"{root}/data.pkl")
    checkpoint = pytorch.unpickler(Bytes(file.data, start, start + size), {}).load()
    return pytorch.state_dict(
        checkpoint, file, lambda storage: archive.verified(f"{root}/data/{storage.key}")
    )


class _Entry(NamedTuple):
    region: Region
    checksum: int


class _Archive:
    """The entries of a zip archive, each checked against the zip directory."""

    def __init__(self, file: np.memmap, path: Path) -> None:
        self.file = file
        self.entries: dict[str, _Entry] = {}
        self.sound: set[str] = set()
        infos, end = _directory(path)
        infos.sort(key=lambda info: info.header_offset)
        if infos and infos[0].header_offset:  # zipfile would skip such bytes, PyTorch would not
            raise DamagedError("does not begin with an entry of its zip directory")
        free, names = 0, set()
        for info in infos:
            name = _checked_name(info)
            if name.lower() in names:  # PyTorch does not distinguish upper and lower case
                raise DamagedError(f"has two entries named {shown(name)}")
            names.add(name.lower())
            region = self.data_of(info, end)
            if info.header_offset < free:
                raise DamagedError(f"has the entry {shown(name)} inside another")
            free = region.start + region.size
            self.entries[name] = _Entry(region, info.CRC)

    def data_of(self, info: zipfile.ZipInfo, end: int) -> Region:
        """Return the region of an entry's bytes; raise DamagedError if its two headers disagree."""
        name, start = info.orig_filename, info.header_offset + _LOCAL_HEADER.size
        if not _LOCAL_HEADER.size <= start <= end:
            raise DamagedError(f"has the entry {shown(name)} outside of it")
        header = _LOCAL_HEADER.unpack_from(self.file.data, info.header_offset)
        signature, _, flags, method, _, _, checksum, packed, size, name_size, extra_size = header
        region = Region(start + name_size + extra_size, info.file_size)
        if region.start + region.size > end:
            raise DamagedError(f"ends inside the entry {shown(name)}")
        own_name = bytes(self.file[start : start + name_size])
        agrees = (
            signature == b"PK\x03\x04"
            and flags == info.flag_bits
            and method == info.compress_type
            and own_name == name.encode("utf-8" if flags & _UTF8 else "cp437")
        )
        if not flags & _SIZES_FOLLOW:
            agrees &= checksum == info.CRC
            agrees &= {packed, size} <= {info.file_size, _IN_EXTRA_FIELD}
        if not agrees:
            raise DamagedError(f"describes the entry {shown(name)} in two ways")
        return region

    def root(self) -> str:
        """Return the folder of the checkpoint in the archive."""
        roots = [name[:-9] for name in self.entries if name.endswith("/data.pkl")]
        if len(roots) != 1 or "/" in roots[0]:
            raise UnsupportedError(
                f"is a zip archive with {len(roots)} files data.pkl; torch.save writes one, in a"
                " folder"
            )
        return roots[0]

    def verified(self, name: str) -> Region:
        """Return the region of an entry's bytes; raise DamagedError if the checksum is wrong."""
        entry = self.entries.get(name)
        if entry is None:
            raise DamagedError(f"has no entry {shown(name)}")
        start, size = entry.region
        # 0: no checksum, as after `torch.serialization.set_crc32_options(False)`.
        if entry.checksum and name not in self.sound:
            if zlib.crc32(self.file[start : start + size].data) != entry.checksum:
                raise DamagedError(f"has a wrong checksum in the entry {shown(name)}")
            self.sound.add(name)
        return entry.region


class _DirectoryFile(io.FileIO):
    """A file that refuses to read a zip directory that is too large for memory."""

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > _MAX_DIRECTORY:
            raise DamagedError(f"has a zip directory of {size} bytes, more than any checkpoint")
        return super().read(size)


def _directory(path: Path) -> tuple[list[zipfile.ZipInfo], int]:
    """Return the entries of a zip directory, and the position where the directory begins."""
    try:
        with _DirectoryFile(path) as file, zipfile.ZipFile(file) as archive:
            return archive.infolist(), archive.start_dir
    except FileError:
        raise
    except Exception as error:
        # zipfile raises errors of many classes for a damaged directory, and documents none.
        raise DamagedError(f"is no sound zip archive ({shown(str(error))})") from None


def _checked_name(info: zipfile.ZipInfo) -> str:
    name = info.orig_filename
    is_drive = name[1:2] == ":"
    parts = name.split("/")
    if is_drive or {"", ".", ".."} & set(parts) or {"\\", "\0"} & set(name):
        raise DamagedError(f"has an entry with the unsafe name {shown(name)}")
    if parts[1:2] in (["code"], ["constants.pkl"]):
        raise UnsupportedError("is a TorchScript archive: a program, not a checkpoint")
    if info.compress_type != zipfile.ZIP_STORED:
        raise UnsupportedError(f"has the entry {shown(name)} compressed; torch.save does not")
    if info.flag_bits & _ENCRYPTED:
        raise UnsupportedError(f"has the entry {shown(name)} encrypted")
    return name

"""`weights_manifest.json`: the single list of the weights that ship and of those on the Hub."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dolg_zoo.weights.errors import ManifestError

FORMAT_VERSION = 1
PRESET_FILES = ("config.json", "preprocessor.json", "metadata.json", "model.weights.h5")
CHECKPOINT_SUFFIXES = {
    "official_pytorch": (".pt", ".pth", ".pyth", ".safetensors"),
    "official_paddle": (".pdparams",),
    "dongkyuk_pytorch": (".pt", ".pth", ".ckpt", ".safetensors"),
}
"""The suffixes of an upstream's files, by the name that `dolg_zoo.porting.LAYOUTS` has for it."""

_FILE_NAME = "weights_manifest.json"


@dataclass(frozen=True)
class RemoteFile:
    """One file of a Hub repository, pinned to its bytes.

    Attributes:
        repo: `user/name`.
        revision: the commit, 40 hexadecimal digits.
        path: the file's name in the repository.
        size: bytes.
        sha256: 64 hexadecimal digits.
    """

    repo: str
    revision: str
    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class FileHash:
    """Length in bytes and sha256 (64 hexadecimal digits) of one file."""

    size: int
    sha256: str


@dataclass(frozen=True)
class HubSource:
    """A Hub repository, `user/name`, at one commit (40 hexadecimal digits)."""

    repo: str
    revision: str


@dataclass(frozen=True)
class Figure:
    """A published or measured result: its value, what was measured, and who says so."""

    value: float
    what: str
    source: str


@dataclass(frozen=True)
class PresetEntry:
    """A preset that can be asked for by name.

    Attributes:
        name: `<architecture>_<tag>`.
        description: one line for lists.
        architecture: name of the backbone.
        source: where its files lie on the Hub, or None when they ship inside the package.
        files: hash of each file of the preset; empty until the preset has been built.
        license: licence of the weights.
        provenance: how the weights came to be.
        figures: results, with their source.
        figures_note: what must be said wherever the figures are shown.
    """

    name: str
    description: str
    architecture: str
    source: HubSource | None
    files: Mapping[str, FileHash]
    license: str
    provenance: str
    figures: tuple[Figure, ...]
    figures_note: str

    @property
    def remote_files(self) -> tuple[RemoteFile, ...]:
        """What has to be fetched before the preset can be loaded; nothing if it ships."""
        if self.source is None:
            return ()
        return tuple(
            RemoteFile(self.source.repo, self.source.revision, path, file.size, file.sha256)
            for path, file in self.files.items()
        )

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files.values())


@dataclass(frozen=True)
class CheckpointEntry:
    """A preset that is made from an upstream's file when it is first asked for.

    Attributes:
        file: the upstream's file.
        format: whose file it is: a key of `dolg_zoo.porting.LAYOUTS`.

    The others are as in `PresetEntry`.
    """

    name: str
    description: str
    architecture: str
    file: RemoteFile
    format: str
    license: str
    provenance: str
    figures: tuple[Figure, ...]
    figures_note: str

    @property
    def source(self) -> HubSource:
        """Where the upstream's file lies on the Hub."""
        return HubSource(self.file.repo, self.file.revision)

    @property
    def size(self) -> int:
        """Bytes of the upstream's file."""
        return self.file.size


@dataclass(frozen=True)
class Manifest:
    """All that the manifest lists, by name; no name is in both."""

    presets: Mapping[str, PresetEntry]
    checkpoints: Mapping[str, CheckpointEntry]

    @property
    def entries(self) -> Mapping[str, PresetEntry | CheckpointEntry]:
        """All that can be asked for as a preset, sorted by name."""
        return dict(sorted({**self.presets, **self.checkpoints}.items()))


def load_manifest(path: Path | None = None) -> Manifest:
    """Read and check a manifest.

    Args:
        path: the file; None means the project's own, from the installed package or the checkout.

    Raises:
        ManifestError: the file is missing or not JSON, or a field is missing, unknown or
            malformed; names the entry, the field and the value.
    """
    path = _own_manifest() if path is None else path
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_unique_keys)
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path} cannot be read as a manifest: {error}") from error
    fields = _record(path.name, content, _MANIFEST)
    for name in fields["presets"].keys() & fields["checkpoints"].keys():
        raise ManifestError(f"{path.name}: {name!r} is both a preset and a checkpoint.")
    return Manifest(fields["presets"], fields["checkpoints"])


def _own_manifest() -> Path:
    package = Path(__file__).parents[1]
    installed = package / _FILE_NAME
    return installed if installed.is_file() else package.parent / _FILE_NAME


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # json keeps the last of two equal keys without a word, and with it the wrong hash.
    fields = dict(pairs)
    if len(fields) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ManifestError(f"{next(key for key in keys if keys.count(key) > 1)!r} stands twice")
    return fields


# A reader takes the place of a value ("presets.some_name.license") and the value, and returns what
# the dataclasses above hold or raises. A schema gives a record's fields their readers.
Reader = Callable[[str, Any], Any]


def _record(where: str, value: Any, schema: Mapping[str, Reader]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _refusal(where, value, "an object")
    for key in value.keys() - schema.keys():
        raise ManifestError(f"{where} has the unknown field {key!r}; known are {sorted(schema)}.")
    for key in schema.keys() - value.keys():
        raise ManifestError(f"{where} lacks the field {key!r}.")
    return {key: read(f"{where}: {key}", value[key]) for key, read in schema.items()}


def _refusal(where: str, value: Any, wanted: str) -> ManifestError:
    return ManifestError(f"{where} is {value!r}; it must be {wanted}.")


def _matching(pattern: str, wanted: str) -> Reader:
    def read(where: str, value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value, re.ASCII | re.DOTALL):
            raise _refusal(where, value, wanted)
        return value

    return read


_any_text = _matching(r".*", "a text")
_text = _matching(r".*\S.*", "a text that is not empty")
_name = _matching(r"[a-z0-9]+(_[a-z0-9]+)*", "lower-case words joined by underscores")
_repo = _matching(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", "a Hub repository, 'user/name'")
_revision = _matching(r"[0-9a-f]{40}", "a commit, 40 lower-case hexadecimal digits")
_sha256 = _matching(r"[0-9a-f]{64}", "a sha256, 64 lower-case hexadecimal digits")
_file_name = _matching(r"[A-Za-z0-9_][\w.-]*", "a plain file name, without folders")
_format = _matching("|".join(CHECKPOINT_SUFFIXES), f"one of {sorted(CHECKPOINT_SUFFIXES)}")


def _version(where: str, value: Any) -> int:
    if type(value) is not int or value != FORMAT_VERSION:
        raise _refusal(where, value, f"{FORMAT_VERSION}, or dolg-zoo updated")
    return value


def _size(where: str, value: Any) -> int:
    if type(value) is not int or value <= 0:
        raise _refusal(where, value, "a number of bytes above 0")
    return value


def _number(where: str, value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise _refusal(where, value, "a finite number")
    return float(value)


def _figures(where: str, value: Any) -> tuple[Figure, ...]:
    if not isinstance(value, list):
        raise _refusal(where, value, "a list")
    return tuple(
        Figure(**_record(f"{where}[{place}]", item, _FIGURE)) for place, item in enumerate(value)
    )


def _source(where: str, value: Any) -> HubSource | None:
    return None if value == "embedded" else HubSource(**_record(where, value, _HUB_SOURCE))


def _preset_files(where: str, value: Any) -> Mapping[str, FileHash]:
    # Every file or, before the preset is built, none: a preset that lacks one cannot be loaded.
    schema = dict.fromkeys(PRESET_FILES, _file_hash) if value != {} else {}
    return MappingProxyType(_record(where, value, schema))


def _file_hash(where: str, value: Any) -> FileHash:
    return FileHash(**_record(where, value, _FILE_HASH))


def _preset(where: str, name: str, value: Any) -> PresetEntry:
    entry = PresetEntry(name=name, **_record(where, value, _PRESET))
    if entry.source is not None and not entry.files:
        raise _refusal(f"{where}: files", {}, f"the hashes of {list(PRESET_FILES)}")
    return entry


def _checkpoint(where: str, name: str, value: Any) -> CheckpointEntry:
    fields = _record(where, value, _CHECKPOINT)
    path, suffixes = fields.pop("file"), CHECKPOINT_SUFFIXES[fields["format"]]
    if not path.endswith(suffixes):
        raise _refusal(f"{where}: file", path, f"a name ending in one of {list(suffixes)}")
    pins = {key: fields.pop(key) for key in ("repo", "revision", "size", "sha256")}
    return CheckpointEntry(name=name, file=RemoteFile(path=path, **pins), **fields)


def _entries(read: Callable[[str, str, Any], Any]) -> Reader:
    def read_all(where: str, value: Any) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise _refusal(where, value, "an object")
        return MappingProxyType(
            {
                _name(f"a name in {where}", name): read(f"{where}: {name}", name, item)
                for name, item in value.items()
            }
        )

    return read_all


_FIGURE = {"value": _number, "what": _text, "source": _text}
_HUB_SOURCE = {"repo": _repo, "revision": _revision}
_FILE_HASH = {"size": _size, "sha256": _sha256}
_ORIGIN = {
    "license": _text,
    "provenance": _text,
    "figures": _figures,
    "figures_note": _any_text,
}
_MODEL = {"description": _text, "architecture": _name}
_PRESET = {**_MODEL, "source": _source, "files": _preset_files, **_ORIGIN}
_CHECKPOINT = {
    **_MODEL,
    **_HUB_SOURCE,
    "file": _file_name,
    **_FILE_HASH,
    "format": _format,
    **_ORIGIN,
}
_MANIFEST = {
    "format_version": _version,
    "presets": _entries(_preset),
    "checkpoints": _entries(_checkpoint),
}

"""`weights_manifest.json`: the single list of all weights, in the package or on the Hub."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from dolg_zoo._util.json_files import read_json_object
from dolg_zoo._util.records import checked_version
from dolg_zoo.errors import ManifestError

T = TypeVar("T")

CONFIG, PREPROCESSOR = "config.json", "preprocessor.json"
METADATA, WEIGHTS = "metadata.json", "model.weights.h5"
PRESET_FILES = (CONFIG, PREPROCESSOR, METADATA, WEIGHTS)
MARGIN_HEAD = "margin_head.npz"
"""The optional file of a preset: only further training needs it."""

EMBEDDED = Path(__file__).parents[1] / "presets" / "embedded"
"""The folder of the presets that ship with the package."""

FORMAT_VERSION = 1
_FILE_NAME = "weights_manifest.json"


@dataclass(frozen=True)
class RemoteFile:
    """One file of a Hub repository, pinned to its bytes."""

    repo: str  # `user/name`
    revision: str  # the commit, 40 hexadecimal digits
    path: str  # the file's name in the repository
    size: int  # bytes
    sha256: str  # 64 hexadecimal digits


@dataclass(frozen=True)
class FileHash:
    """Size in bytes and sha256 (64 hexadecimal digits) of a file."""

    size: int
    sha256: str


@dataclass(frozen=True)
class HubSource:
    """A Hub repository, `user/name`, at one commit (40 hexadecimal digits)."""

    repo: str
    revision: str


@dataclass(frozen=True)
class Figure:
    """A published or measured result."""

    value: float
    metric: str  # with its unit if it has one, such as "mAP %"
    dataset: str  # such as "ROxford medium"
    source: str  # who published it, or the command that measures it
    note: str = ""  # facts that a reader needs to compare it


@dataclass(frozen=True)
class _Entry:
    """A preset that can be asked for by name."""

    name: str  # `dolg_<architecture>_<tag>`
    description: str  # one line for lists
    architecture: str  # name of the backbone
    descriptor_dim: int
    dataset: str  # the training data
    license: str  # of the weights, an SPDX expression
    license_note: str  # terms that the expression cannot express
    provenance: str  # how the weights were made
    figures: tuple[Figure, ...]
    figures_note: str  # a text that must accompany the figures

    def metadata(self) -> dict[str, Any]:
        """Return the metadata.json that the manifest states, without hashes."""
        keys = ("name", "description", "dataset", "license", "license_note", "provenance")
        return {
            **{key: getattr(self, key) for key in keys},
            "source": asdict(self.file) if isinstance(self, CheckpointEntry) else None,
            "figures": [asdict(figure) for figure in self.figures],
            "figures_note": self.figures_note,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as `dolg presets --json` prints it."""
        assert isinstance(self, PresetEntry | CheckpointEntry)
        stated, source = self.metadata(), self.source
        stated.pop("source")
        return {
            **stated,
            "architecture": self.architecture,
            "descriptor_dim": self.descriptor_dim,
            "bytes": self.size,
            "repo": source and source.repo,
            "revision": source and source.revision,
            "format": self.format if isinstance(self, CheckpointEntry) else None,
            "files": {name: asdict(file) for name, file in self.files.items()},
        }


@dataclass(frozen=True)
class PresetEntry(_Entry):
    """A preset whose files ship with the package or lie on the Hub."""

    source: HubSource | None  # None if its files ship with the package
    files: Mapping[str, FileHash]  # `PRESET_FILES`, and `MARGIN_HEAD` if it keeps one

    @property
    def remote_files(self) -> tuple[RemoteFile, ...]:
        """All files with their pinned hashes; empty if the preset ships with the package."""
        if self.source is None:
            return ()
        return tuple(
            RemoteFile(self.source.repo, self.source.revision, path, file.size, file.sha256)
            for path, file in self.files.items()
        )

    @property
    def size(self) -> int:
        """The size of all its files in bytes."""
        return sum(file.size for file in self.files.values())


@dataclass(frozen=True)
class CheckpointEntry(_Entry):
    """A preset that is made from an upstream's file when it is first asked for."""

    file: RemoteFile
    format: str  # its origin: a key of `dolg_zoo.checkpoints.porting.LAYOUTS`

    @property
    def source(self) -> HubSource:
        """The Hub repository and commit of the upstream's file."""
        return HubSource(self.file.repo, self.file.revision)

    @property
    def files(self) -> Mapping[str, FileHash]:
        """The hash of the upstream's file."""
        return {self.file.path: FileHash(self.file.size, self.file.sha256)}

    @property
    def size(self) -> int:
        """The size of the upstream's file in bytes."""
        return self.file.size


@dataclass(frozen=True)
class Manifest:
    """The entries of the manifest by name; no name is both a preset and a checkpoint."""

    presets: Mapping[str, PresetEntry]
    checkpoints: Mapping[str, CheckpointEntry]

    @property
    def entries(self) -> Mapping[str, PresetEntry | CheckpointEntry]:
        """The entries of all presets, sorted by name."""
        entries: dict[str, PresetEntry | CheckpointEntry] = {**self.presets, **self.checkpoints}
        return {name: entries[name] for name in sorted(entries)}


def load_manifest(path: Path | None = None) -> Manifest:
    """Read a manifest. tools/pin_manifest.py, which writes it, checks every value.

    Args:
        path: the file; None means the project's own, from the installed package or the checkout.

    Raises:
        ManifestError: if the file is missing, is not JSON or has other fields; names the entry.
    """
    return _read_own(_own_manifest()) if path is None else _read(path)


def _read(path: Path) -> Manifest:
    try:
        content = read_json_object(path)
    except ValueError as error:
        raise ManifestError(f"{path} cannot be read as a manifest: {error}") from error
    return parse_manifest(content, path.name)


_read_own = functools.cache(_read)


def parse_manifest(content: Mapping[str, Any], name: str) -> Manifest:
    """Return the manifest in a JSON object; a ManifestError mentions `name`."""
    try:
        checked_version({**content}, name, FORMAT_VERSION)
    except ValueError as error:
        raise ManifestError(str(error)) from error
    return Manifest(
        _entries(content.get("presets"), _preset, f"{name}: presets"),
        _entries(content.get("checkpoints"), _checkpoint, f"{name}: checkpoints"),
    )


def _own_manifest() -> Path:
    """Return the path of the project's own manifest, in the installed package or the checkout."""
    package = Path(__file__).parents[1]
    installed = package / _FILE_NAME
    return installed if installed.is_file() else package.parent / _FILE_NAME


def _entries(entries: Any, read: Callable[[str, dict[str, Any]], T], where: str) -> Mapping[str, T]:
    if not isinstance(entries, dict):
        raise ManifestError(f"{where} must be an object, got {str(entries)[:80]!r}.")
    parsed = {}
    for name, entry in entries.items():
        try:
            parsed[name] = read(name, {**entry, "figures": _figures(entry)})
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
            raise ManifestError(f"{where}: {name} is malformed: {error!r:.200}.") from error
    return MappingProxyType(parsed)


def _preset(name: str, fields: dict[str, Any]) -> PresetEntry:
    source = fields.pop("source")
    files = {path: FileHash(**pin) for path, pin in fields.pop("files").items()}
    return PresetEntry(
        name=name,
        source=None if source == "embedded" else HubSource(**source),
        files=MappingProxyType(files),
        **fields,
    )


def _checkpoint(name: str, fields: dict[str, Any]) -> CheckpointEntry:
    pins = {key: fields.pop(key) for key in ("repo", "revision", "size", "sha256")}
    return CheckpointEntry(name=name, file=RemoteFile(path=fields.pop("file"), **pins), **fields)


def _figures(entry: dict[str, Any]) -> tuple[Figure, ...]:
    return tuple(Figure(**{**item, "value": float(item["value"])}) for item in entry["figures"])

"""Where the files of a preset come from: one class for each kind, and its files, resolved.

Nothing here needs Keras, but the conversion of a checkpoint does.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dolg_zoo.errors import PresetError
from dolg_zoo.presets.files import check_preset, has_margin_head
from dolg_zoo.weights import fetch, fetch_preset, fetch_repo, parse_hub_url
from dolg_zoo.weights.conversion_cache import cached_conversion, conversion_folder
from dolg_zoo.weights.hub.request import cached_path
from dolg_zoo.weights.manifest import (
    EMBEDDED,
    MARGIN_HEAD,
    PRESET_FILES,
    CheckpointEntry,
    HubSource,
    PresetEntry,
)
from dolg_zoo.weights.verification import (
    CheckedFile,
    verify_files,
    verify_folder,
    verify_pinned,
    verify_repo,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Origin(ABC):
    """The place where a preset's files come from."""

    name: str  # the preset's name; for a repository its address
    entry: PresetEntry | CheckpointEntry | None = field(default=None, kw_only=True)

    @property
    def state(self) -> str:
        """The words "in the package", "converted", "cached" or "not cached"; without hashing."""
        return "cached"

    @abstractmethod
    def resolve(self, before_conversion: Callable[[], object]) -> ResolvedPreset:
        """Return the preset with local files; download or convert them if necessary.

        `before_conversion` is called before a checkpoint is converted, which needs TensorFlow.
        """

    @abstractmethod
    def verify(self) -> list[CheckedFile]:
        """Hash the local files and compare them with their expected hashes."""

    def fetch_margin_head(self, resolved: ResolvedPreset) -> None:  # noqa: B027
        """Download the preset's margin head to its folder, if it is not there yet."""


@dataclass(frozen=True)
class ResolvedPreset:
    """A preset's name, and the folder with its verified files."""

    name: str
    folder: Path
    sha256: Mapping[str, str] = field(default_factory=dict, hash=False)  # of verified files
    origin: Origin | None = field(default=None, hash=False)

    @property
    def entry(self) -> PresetEntry | CheckpointEntry | None:
        """The preset's entry in the manifest."""
        return self.origin.entry if self.origin else None

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The manifest's metadata of a converted checkpoint; they override metadata.json."""
        return self.entry.metadata() if isinstance(self.entry, CheckpointEntry) else {}


@dataclass(frozen=True)
class Shipped(Origin):
    """A preset in the package."""

    entry: PresetEntry = field(kw_only=True)
    state = "in the package"

    def resolve(self, before_conversion: Callable[[], object]) -> ResolvedPreset:
        for file in self._verify(PRESET_FILES):
            if file.fault:
                raise PresetError(
                    f"{file.path}, which ships with dolg-zoo, differs from the released file"
                    f" ({file.fault}); reinstall the package."
                )
        hashes = {name: self.entry.files[name].sha256 for name in PRESET_FILES}
        return ResolvedPreset(self.name, EMBEDDED / self.name, hashes, self)

    def verify(self) -> list[CheckedFile]:
        return self._verify(self.entry.files)

    def _verify(self, names: Iterable[str]) -> list[CheckedFile]:
        return verify_files(EMBEDDED / self.name, {name: self.entry.files[name] for name in names})


@dataclass(frozen=True)
class Published(Origin):
    """A preset of the manifest in a Hub repository, pinned to its files."""

    entry: PresetEntry = field(kw_only=True)
    source: HubSource = field(kw_only=True)

    @property
    def state(self) -> str:
        # the margin head is downloaded only for training
        return "cached" if _are_cached(self.source, PRESET_FILES) else "not cached"

    def resolve(self, before_conversion: Callable[[], object]) -> ResolvedPreset:
        snapshot = fetch_preset(self.entry)
        return ResolvedPreset(self.name, snapshot.folder, snapshot.sha256, self)

    def verify(self) -> list[CheckedFile]:
        return verify_pinned(self.entry.remote_files, self.name)

    def fetch_margin_head(self, resolved: ResolvedPreset) -> None:
        if MARGIN_HEAD in self.entry.files:
            fetch_preset(self.entry, [MARGIN_HEAD])


@dataclass(frozen=True)
class Converted(Origin):
    """A preset of the manifest that is converted from an upstream's checkpoint."""

    entry: CheckpointEntry = field(kw_only=True)

    @property
    def state(self) -> str:
        if cached_conversion(self.entry):
            return "converted"
        is_cached = _are_cached(self.entry.source, [self.entry.file.path])
        return "cached" if is_cached else "not cached"

    def resolve(self, before_conversion: Callable[[], object]) -> ResolvedPreset:
        if folder := cached_conversion(self.entry):
            try:
                return ResolvedPreset(self.name, folder, check_preset(folder), self)
            except PresetError as error:
                logger.warning("Converting %s again: %s", self.name, error)
        path = fetch(self.entry.file, preset=self.name)
        before_conversion()
        from dolg_zoo.presets.conversion import convert_to_cache  # needs Keras

        return ResolvedPreset(self.name, convert_to_cache(self.entry, path), {}, self)

    def verify(self) -> list[CheckedFile]:
        folder = conversion_folder(self.entry)
        converted = verify_folder(folder) if folder and folder.is_dir() else []
        return verify_pinned([self.entry.file], self.name) + converted


@dataclass(frozen=True)
class Repository(Origin):
    """A preset in a Hub repository that is not in the manifest: hf://user/repo[@revision]."""

    def resolve(self, before_conversion: Callable[[], object]) -> ResolvedPreset:
        repo, revision = parse_hub_url(self.name)
        snapshot = fetch_repo(repo, PRESET_FILES, revision=revision)
        name = f"hf://{repo}@{snapshot.commit}"
        return ResolvedPreset(name, snapshot.folder, snapshot.sha256, self)

    def verify(self) -> list[CheckedFile]:
        return verify_repo(self.name)

    def fetch_margin_head(self, resolved: ResolvedPreset) -> None:
        if has_margin_head(resolved.folder):
            repo, commit = parse_hub_url(resolved.name)
            fetch_repo(repo, [MARGIN_HEAD], revision=commit)


@dataclass(frozen=True)
class Folder(Origin):
    """A preset folder of the user."""

    folder: Path = field(kw_only=True)

    def resolve(self, before_conversion: Callable[[], object]) -> ResolvedPreset:
        return ResolvedPreset(self.name, self.folder, origin=self)

    def verify(self) -> list[CheckedFile]:
        return verify_folder(self.folder)


def origin_of_entry(entry: PresetEntry | CheckpointEntry) -> Origin:
    """Return the origin of a preset in the manifest."""
    if isinstance(entry, CheckpointEntry):
        return Converted(entry.name, entry=entry)
    if entry.source is None:
        return Shipped(entry.name, entry=entry)
    return Published(entry.name, entry=entry, source=entry.source)


def _are_cached(source: HubSource, names: Iterable[str]) -> bool:
    with suppress(OSError):  # nothing is cached in a folder that cannot be read
        return all(cached_path(source.repo, source.revision, name) for name in names)
    return False

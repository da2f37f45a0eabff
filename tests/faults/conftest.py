"""A Hub that a test breaks, a cache whose surroundings are watched, a table of what happened."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fake_hub import Hub, Repo, sha256_of

from dolg_zoo.weights.manifest import PRESET_FILES, FileHash, HubSource, PresetEntry


@pytest.fixture
def hub(module_hub: Hub) -> Iterator[Hub]:
    module_hub.requests.clear()
    yield module_hub
    module_hub.heal()


@pytest.fixture(scope="session")
def new_entry() -> Callable[..., PresetEntry]:
    return pinned_entry


def pinned_entry(name: str, repo: str, commit: str, files: dict[str, bytes]) -> PresetEntry:
    """The manifest's entry of a preset on the Hub."""
    hashes = {path: FileHash(len(files[path]), sha256_of(files[path])) for path in PRESET_FILES}
    return PresetEntry(
        name=name,
        description="a preset of the tests",
        architecture="two_convolutions",
        descriptor_dim=64,
        dataset="none",
        source=HubSource(repo, commit),
        files=hashes,
        license="CC0-1.0",
        license_note="",
        provenance="random weights",
        figures=(),
        figures_note="",
    )


@dataclass
class Cache:
    """A Hub cache of one test, in a folder of its own so that what lands beside it is seen."""

    around: Path
    repository: Repo

    @property
    def folder(self) -> Path:
        return self.around / "home" / "deep" / "hub"

    @property
    def outside(self) -> Path:
        """Beside the cache: nothing may be written there."""
        return self.around / "outside"

    def wrong_files(self) -> list[str]:
        """The files under their names in the cache that are not those of the repository."""
        return [
            str(path)
            for path in self.folder.glob("models--*/snapshots/*/**/*")
            if not path.is_dir() and not self.is_right(path)
        ]

    def is_right(self, path: Path) -> bool:
        commit = path.relative_to(self.folder).parts[2]
        truth = self.repository.commits.get(commit, {}).get(path.name)
        return path.is_file() and path.read_bytes() == truth

    def strays(self) -> list[str]:
        """What was written beside the cache."""
        return [
            str(path)
            for path in self.around.rglob("*")
            if not path.is_relative_to(self.folder) and path not in self.folder.parents
        ]


@pytest.fixture
def new_cache(tmp_path) -> Callable[[Repo], Cache]:
    numbers = itertools.count()

    def make(repository: Repo) -> Cache:
        cache = Cache(tmp_path / f"around-{next(numbers)}", repository)
        cache.folder.mkdir(parents=True)
        return cache

    return make


@dataclass
class Table:
    """What happened at each fault."""

    rows: list[tuple[str, str, str, int, float]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def add(self, fault: str, asked: str, happened: str, struck: int, seconds: float) -> None:
        row = (fault, asked, happened, struck, seconds)
        if not self.rows or self.rows[-1][:3] != row[:3]:  # else another process of many
            self.rows.append(row)

    def show(self) -> None:
        print(f"\n{'fault':<58} {'asked for':<10} {'struck':>6} {'seconds':>8}  what happened")
        for fault, asked, happened, struck, seconds in self.rows:
            print(f"{fault:<58} {asked:<10} {struck:>6} {seconds:>8.1f}  {happened}")
        print(f"{len(self.rows)} faults tried, {len(self.wrong)} wrong or torn results")


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    table = Table()
    yield table
    table.show()


@pytest.fixture(scope="module")
def real_times() -> bool:
    """Whether the pauses and time limits of the Hub client are left as they are."""
    return os.environ.get("DOLG_ZOO_REAL_TIMES") == "1"


@pytest.fixture
def pauses(monkeypatch, real_times) -> list[float]:
    """What the client would have slept for; cut short unless times are to be real."""
    asked, sleep = [], time.sleep

    def brief(seconds: float) -> None:
        # even for real times nobody is to wait for an hour
        taken = seconds if real_times and seconds <= 60 else min(seconds * 0.01, 0.02)
        asked.append(seconds - taken)
        sleep(taken)

    monkeypatch.setattr(time, "sleep", brief)
    return asked

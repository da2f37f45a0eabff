"""Download presets, verify the sha256 of their cached files, and restore damaged files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from dolg_zoo.presets.origins import ResolvedPreset
from dolg_zoo.presets.registry import (
    fetch_margin_head,
    find_preset,
    of_the_zoo,
    preset_names,
    resolve_preset,
)
from dolg_zoo.weights import load_manifest
from dolg_zoo.weights.verification import CheckedFile, cached_repos, verify_folder


def verifiable_presets() -> list[str]:
    """Return the manifest's presets, and hf:// addresses of other presets in the Hub's cache."""
    entries = load_manifest().entries
    sources = [entry.source for entry in entries.values() if entry.source]
    pinned = {f"hf://{source.repo}@{source.revision}" for source in sources}
    return [*entries, *(url for url in cached_repos() if url not in pinned)]


def verify_preset(name: str) -> list[CheckedFile]:
    """Check the files of a preset, hf:// address or folder; return [] if none is cached."""
    return find_preset(name).verify()


def repair_preset(
    name: str, bad: Iterable[CheckedFile], before_conversion: Callable[[], object]
) -> None:
    """Download or convert damaged files again, or raise ValueError if that is not possible."""
    downloads = [file.fetch_again for file in bad]
    for fetch_again in filter(None, downloads):
        fetch_again()
    if all(downloads):
        return
    if name not in load_manifest().checkpoints:
        raise ValueError(
            "no download can restore it: reinstall dolg-zoo if the preset ships with it, save it"
            " again if it is yours, or tell its publisher"
        )
    resolve_preset(name, before_conversion=before_conversion)  # converts damaged files again


def fetch_verified(
    name: str, margin_head: bool, before_conversion: Callable[[], object]
) -> ResolvedPreset:
    """Download a preset, convert it if necessary; ValueError if its published files disagree."""
    if not name.startswith("hf://") and name not in preset_names() and Path(name).exists():
        raise ValueError(
            f"{name!r} is on this machine already: only names and hf://user/repo are downloaded"
        )
    # a local folder of this name does not count
    resolved = resolve_preset(of_the_zoo(name), before_conversion=before_conversion)
    for file in verify_folder(resolved.folder, from_hub=True, known=resolved.sha256):
        if file.fault:
            raise ValueError(f"{resolved.name}: {file.path.name} was published wrong: {file.fault}")
    if margin_head:
        fetch_margin_head(resolved)
    return resolved

"""Entries of the manifest, made and written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dolg_zoo._util.files import replacing
from dolg_zoo.errors import ManifestError
from dolg_zoo.weights.manifest import FileHash, HubSource, load_manifest, parse_manifest


def pinned_preset(
    source: HubSource,
    files: Mapping[str, FileHash],
    metadata: Mapping[str, Any],
    *,
    architecture: str,
    descriptor_dim: int,
) -> dict[str, Any]:
    """Make the manifest's entry of a published preset.

    Args:
        source: the repository, at the commit that the files are from.
        files: size and sha256 of each of them, by name.
        metadata: what its metadata.json holds; keys that an entry does not have are left out.
        architecture: name of the backbone.
        descriptor_dim: length of the descriptor.

    Returns:
        The entry, as it stands in JSON.

    Raises:
        ManifestError: metadata lacks what an entry must say, or something is malformed.
    """
    needed = ("description", "dataset", "license", "provenance")
    lacking = [key for key in needed if not metadata.get(key)]
    if lacking:
        raise ManifestError(
            f"The metadata.json of {source.repo} lacks {', '.join(lacking)}, which each entry of"
            " the manifest must state."
        )
    entry = {
        "description": metadata["description"],
        "architecture": architecture,
        "descriptor_dim": descriptor_dim,
        "dataset": metadata["dataset"],
        "source": asdict(source),
        "files": {name: asdict(file) for name, file in files.items()},
        "license": metadata["license"],
        "license_note": metadata.get("license_note", ""),
        "provenance": metadata["provenance"],
        "figures": metadata.get("figures", []),
        "figures_note": metadata.get("figures_note", ""),
    }
    content = {"format_version": 1, "presets": {"entry": entry}, "checkpoints": {}}
    parsed = parse_manifest(content, f"The manifest's entry for {source.repo}")
    return {**entry, "license": parsed.presets["entry"].license}  # as SPDX writes it


def write_entry(manifest: Path, name: str, entry: dict[str, Any], *, accept_change: bool) -> None:
    """Put an entry into a manifest file, under its name; one of that name is replaced.

    The file is replaced as a whole, once what it will hold has been checked.

    Args:
        manifest: the file.
        name: of the preset.
        entry: as it stands in JSON, of a preset or of a checkpoint.
        accept_change: whether a file that is pinned already may get other bytes.

    Raises:
        ManifestError: the manifest is malformed, or would be; or a pinned file would change, with
            its name and both hashes.
        OSError: the file cannot be written.
    """
    load_manifest(manifest)
    content = json.loads(manifest.read_text(encoding="utf-8"))
    entries = content[kind_of(entry)]
    before = entries.get(name)
    entries[name] = entry
    parse_manifest(content, manifest.name)
    if before is not None and not accept_change:
        for field in ("license", "source"):
            old, new = before.get(field), entry.get(field)
            if old != new and (field == "license" or "embedded" in (old, new)):
                raise ManifestError(
                    f"The {field} of {name} is {old!r} and would become {new!r}; accept the change"
                    " only if you know why it is."
                )
        _refuse_change(name, _pins(before), _pins(entry))
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    with replacing(manifest) as file:
        Path(file.name).chmod(manifest.stat().st_mode & 0o7777)
        file.write(text.encode("utf-8"))


def kind_of(entry: Mapping[str, Any]) -> str:
    """The list of the manifest that an entry belongs to: "presets" or "checkpoints"."""
    return "presets" if "files" in entry else "checkpoints"


def _pins(entry: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    if "files" in entry:
        return entry["files"]
    return {entry["file"]: {"size": entry["size"], "sha256": entry["sha256"]}}


def _refuse_change(
    name: str, before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]
) -> None:
    for file, old in before.items():
        new = after.get(file)
        if new != old:
            is_now = f"now has {_words(new)}" if new else "is no longer there"
            raise ManifestError(
                f"{file} of {name} is pinned to {_words(old)} and {is_now}. Whoever has the old"
                " manifest keeps the old bytes; accept the change only if you know why it is."
            )


def _words(pin: dict[str, Any]) -> str:
    return f"sha256 {pin['sha256']} ({pin['size']} bytes)"

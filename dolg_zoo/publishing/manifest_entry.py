"""The entry of a published preset in the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from dolg_zoo.errors import ManifestError
from dolg_zoo.publishing.metadata import license_id
from dolg_zoo.weights.manifest import FileHash, HubSource


def pinned_preset(
    source: HubSource,
    files: Mapping[str, FileHash],
    metadata: Mapping[str, Any],
    *,
    architecture: str,
    descriptor_dim: int,
) -> dict[str, Any]:
    """Return a published preset's manifest entry, as in JSON, or raise ManifestError."""
    # `source` names the commit of the files; metadata.json's keys that an entry lacks are left out
    needed = ("description", "dataset", "license", "provenance")
    lacking = [key for key in needed if not metadata.get(key)]
    if lacking:
        raise ManifestError(
            f"The metadata.json of {source.repo} lacks {', '.join(lacking)}, which each entry of"
            " the manifest must state."
        )
    try:
        license = license_id(metadata["license"])
    except (ValueError, TypeError, AttributeError) as error:
        raise ManifestError(
            f"The license {metadata['license']!r} of {source.repo} is no SPDX expression: {error}."
        ) from error
    return {
        "description": metadata["description"],
        "architecture": architecture,
        "descriptor_dim": descriptor_dim,
        "dataset": metadata["dataset"],
        "source": asdict(source),
        "files": {name: asdict(file) for name, file in files.items()},
        "license": license,
        "license_note": metadata.get("license_note", ""),
        "provenance": metadata["provenance"],
        "figures": metadata.get("figures", []),
        "figures_note": metadata.get("figures_note", ""),
    }

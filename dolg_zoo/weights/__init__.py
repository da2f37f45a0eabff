"""From a weight's name to a file on this machine whose bytes are those that were promised."""

from dolg_zoo.weights.download import RepoSnapshot, fetch, fetch_repo, parse_hub_url
from dolg_zoo.weights.errors import ChecksumError, DownloadError, ManifestError, WeightsError
from dolg_zoo.weights.manifest import (
    CheckpointEntry,
    Manifest,
    PresetEntry,
    RemoteFile,
    load_manifest,
)

__all__ = [
    "CheckpointEntry",
    "ChecksumError",
    "DownloadError",
    "Manifest",
    "ManifestError",
    "PresetEntry",
    "RemoteFile",
    "RepoSnapshot",
    "WeightsError",
    "fetch",
    "fetch_repo",
    "load_manifest",
    "parse_hub_url",
]

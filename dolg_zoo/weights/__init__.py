"""Download weights by name; every file is verified by its sha256 before it is used."""

from dolg_zoo.checkpoints.readers import read_plain, read_state_dict
from dolg_zoo.errors import (
    CheckpointError,
    ChecksumError,
    DownloadError,
    ManifestError,
    UnreachableError,
    WeightsError,
)
from dolg_zoo.weights.download import RepoSnapshot, fetch, fetch_preset, fetch_repo, parse_hub_url
from dolg_zoo.weights.manifest import (
    CheckpointEntry,
    Manifest,
    PresetEntry,
    RemoteFile,
    load_manifest,
)

__all__ = [
    "CheckpointEntry",
    "CheckpointError",
    "ChecksumError",
    "DownloadError",
    "Manifest",
    "ManifestError",
    "PresetEntry",
    "RemoteFile",
    "RepoSnapshot",
    "UnreachableError",
    "WeightsError",
    "fetch",
    "fetch_preset",
    "fetch_repo",
    "load_manifest",
    "parse_hub_url",
    "read_plain",
    "read_state_dict",
]

"""A well-formed manifest, and it with one field changed."""

import copy
import json

COMMIT, SHA256 = "c" * 40, "5" * 64
FILE = {"size": 7, "sha256": SHA256}
FIGURE = {"value": 81.2, "metric": "mAP %", "dataset": "ROxford medium", "source": "a paper"}
ORIGIN = {
    "descriptor_dim": 512,
    "dataset": "GLDv2-clean",
    "license": "MIT",
    "license_note": "",
    "provenance": "trained",
    "figures": [FIGURE],
    "figures_note": "",
}
PRESET_FILES = ["config.json", "preprocessor.json", "metadata.json", "model.weights.h5"]
WELL_FORMED = {
    "format_version": 1,
    "presets": {
        "small_imagenet": {
            "description": "a small one",
            "architecture": "small",
            "source": {"repo": "user/repo", "revision": COMMIT},
            "files": dict.fromkeys(PRESET_FILES, FILE),
            **ORIGIN,
        }
    },
    "checkpoints": {
        "big_gldv2": {
            "description": "a big one",
            "architecture": "big",
            "repo": "user/repo",
            "revision": COMMIT,
            "file": "big.pt",
            "format": "official_pytorch",
            **FILE,
            **ORIGIN,
        }
    },
}
REMOVED = object()


def write(tmp_path, content):
    """Write a manifest and return its path; bytes are written as they are."""
    path = tmp_path / "manifest.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def altered(place, value):
    content = copy.deepcopy(WELL_FORMED)
    *parents, last = place.split("/")
    record = content
    for key in parents:
        record = record[int(key) if key.isdigit() else key]
    if value is REMOVED:
        del record[last]
    else:
        record[last] = value
    return content

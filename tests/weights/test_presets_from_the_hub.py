"""DOLG.from_preset over a Hub server: a repository that nothing pins, and one of the manifest."""

import json
import os
import subprocess
import sys

import pytest

from dolg_zoo.presets import DEFAULT_PRESET, locate_preset
from dolg_zoo.weights.hashing import sha256_of

REPO = "someone/their-dolg"
# argv: the preset; a manifest to use instead of the project's own, or "".
SCRIPT = """
import json, sys, time
from pathlib import Path
import numpy as np
import dolg_zoo
from dolg_zoo.presets import registry
from dolg_zoo.weights import WeightsError, load_manifest

time.sleep = lambda seconds: None  # the Hub client's pauses between its attempts
preset, manifest = sys.argv[1:]
if manifest:
    registry.load_manifest = lambda: load_manifest(Path(manifest))
images = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype="uint8")
try:
    model = dolg_zoo.DOLG.from_preset(preset)
    outcome = {"preset": model.metadata["preset"], "sum": float(np.sum(model(images)[0, :256]))}
except WeightsError as error:
    outcome = {"error": type(error).__name__, "message": str(error)}
print(json.dumps(outcome))
"""


@pytest.fixture(scope="module")
def files():
    return {path.name: path.read_bytes() for path in locate_preset().folder.iterdir()}


@pytest.fixture
def from_preset(hub, tmp_path):
    def call(preset, manifest="", **variables):
        environment = {
            **os.environ,
            "HF_ENDPOINT": hub.endpoint,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            **variables,
        }
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, preset, str(manifest)],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return call


@pytest.fixture
def remote_manifest(hub, files, tmp_path):
    """The preset as an entry of a manifest whose files are on the Hub."""
    entry = {
        "description": "the embedded preset, fetched",
        "architecture": "efficientnet_lite_b0",
        "source": {"repo": REPO, "revision": hub.commit(REPO, files)},
        "files": {
            path.name: {"size": path.stat().st_size, "sha256": sha256_of(path)}
            for path in locate_preset().folder.iterdir()
        },
        "license": "Apache-2.0",
        "provenance": "a test",
        "figures": [],
        "figures_note": "",
    }
    path = tmp_path / "manifest.json"
    path.write_text(
        json.dumps({"format_version": 1, "presets": {"dolg_far_away": entry}, "checkpoints": {}})
    )
    return path


def test_a_repository_gives_its_model_also_offline(hub, files, from_preset):
    commit = hub.commit(REPO, files)
    here = from_preset(DEFAULT_PRESET)
    there = from_preset(f"hf://{REPO}")
    assert there == {"preset": f"hf://{REPO}@{commit}", "sum": here["sum"]}
    assert from_preset(f"hf://{REPO}", HF_HUB_OFFLINE="1") == there


def test_a_remote_preset_of_the_manifest_is_fetched_and_held_to_its_hashes(
    hub, from_preset, remote_manifest
):
    here = from_preset(DEFAULT_PRESET)
    there = from_preset("dolg_far_away", remote_manifest)
    assert there == {"preset": "dolg_far_away", "sum": here["sum"]}


def test_wrong_weights_of_the_right_size_never_load(hub, from_preset, remote_manifest):
    hub.damage["model.weights.h5"] = 9
    outcome = from_preset("dolg_far_away", remote_manifest)
    assert outcome["error"] == "ChecksumError"
    promised = json.loads(remote_manifest.read_text())["presets"]["dolg_far_away"]["files"]
    assert promised["model.weights.h5"]["sha256"] in outcome["message"]

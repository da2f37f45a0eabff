import hashlib
import json
import subprocess
import sys
from dataclasses import replace

import pytest

from dolg_zoo.presets.origins import origin_of_entry
from dolg_zoo.weights import CheckpointEntry, PresetEntry, RemoteFile
from dolg_zoo.weights.conversion_cache import conversion_folder
from dolg_zoo.weights.manifest import FileHash, HubSource

PRESET_FILES = ["config.json", "preprocessor.json", "metadata.json", "model.weights.h5"]
COMMIT, REPO = "c" * 40, "someone/their-dolg"
ABOUT = {
    "description": "a test",
    "architecture": "resnet50",
    "descriptor_dim": 512,
    "dataset": "GLDv2-clean",
    "license": "MIT",
    "license_note": "",
    "provenance": "trained",
    "figures": (),
    "figures_note": "",
}
PRESET = PresetEntry(
    name="dolg_resnet50_mine",
    source=HubSource(REPO, COMMIT),
    files=dict.fromkeys([*PRESET_FILES, "margin_head.npz"], FileHash(7, "5" * 64)),
    **ABOUT,
)
CHECKPOINT = CheckpointEntry(
    name="dolg_resnet50_gldv2",
    file=RemoteFile(REPO, COMMIT, "r50.pt", 7, "5" * 64),
    format="official_pytorch",
    **ABOUT,
)


def state_of(entry):
    return origin_of_entry(entry).state


@pytest.fixture
def snapshot(tmp_path, monkeypatch):
    """The folder of a Hub cache that the files of the commit lie in."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("DOLG_ZOO_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "hub" / "models--someone--their-dolg" / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    return folder


def test_a_preset_is_cached_when_all_that_loading_needs_is(snapshot):
    assert state_of(replace(PRESET, source=None)) == "in the package"
    for name in PRESET_FILES:
        assert state_of(PRESET) == "not cached"
        (snapshot / name).touch()
    assert state_of(PRESET) == "cached"
    assert state_of(replace(PRESET, source=HubSource(REPO, "d" * 40))) == "not cached"


def test_a_checkpoint_is_cached_and_then_converted(snapshot):
    assert state_of(CHECKPOINT) == "not cached"
    (snapshot / "r50.pt").touch()
    assert state_of(CHECKPOINT) == "cached"
    folder = conversion_folder(CHECKPOINT)
    folder.mkdir(parents=True)
    assert state_of(CHECKPOINT) == "cached"
    (folder / "metadata.json").touch()  # which is written last
    assert state_of(CHECKPOINT) == "converted"


def test_a_cache_that_cannot_be_read_is_as_good_as_none(snapshot, monkeypatch):
    def no_right(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.listdir", no_right)
    assert state_of(PRESET) == state_of(CHECKPOINT) == "not cached"
    monkeypatch.setenv("DOLG_ZOO_CACHE", "long" * 100)
    assert state_of(CHECKPOINT) == "not cached"
    monkeypatch.setattr("dolg_zoo.weights.conversion_cache.cache_folder", lambda *parts: None)
    assert conversion_folder(CHECKPOINT) is None


def test_what_fetch_put_into_the_cache_is_found_there(hub, client):
    commit = hub.commit(REPO, {"r50.pt": b"weights"})
    file = {"repo": REPO, "revision": commit, "path": "r50.pt", "size": 7}
    file["sha256"] = hashlib.sha256(b"weights").hexdigest()
    script = (
        "import json, sys; from dolg_zoo.weights import CheckpointEntry, RemoteFile;"
        "from dolg_zoo.presets.origins import origin_of_entry;"
        "about, file = json.loads(sys.argv[1]);"
        "entry = CheckpointEntry('a', file=RemoteFile(**file), format='', **about);"
        "print(origin_of_entry(entry).state, '|', *{'keras', 'tensorflow'} & sys.modules.keys())"
    )
    command = [sys.executable, "-c", script, json.dumps([ABOUT, file])]
    environment = client.environment | {"DOLG_ZOO_CACHE": str(client.home)}

    def state():
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        ).stdout.strip()

    assert state() == "not cached |"
    client.call("fetch", file=file)
    asked = len(hub.requests)
    assert state() == "cached |"
    assert len(hub.requests) == asked

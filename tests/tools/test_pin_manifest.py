"""The tool that pins what is on the Hub, as a maintainer runs it."""

import copy
import hashlib
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import run_in_forks

from dolg_zoo.weights import load_manifest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "pin_manifest.py"
REPO, NAME = "someone/their-dolg", "dolg_resnet50_mine"
METADATA = {
    "name": "their-dolg",
    "description": "a test",
    "dataset": "my photographs",
    "license": "apache-2.0",
    "provenance": "trained by me",
    "figures": [{"value": 81.2, "metric": "mAP %", "dataset": "ROxford medium", "source": "me"}],
}
CONFIG = {"format_version": 1, "dolg": {"backbone": "resnet50", "descriptor_dim": 128}}
CHECKPOINT = {
    "description": "an upstream's",
    "architecture": "resnet50",
    "descriptor_dim": 512,
    "dataset": "GLDv2-clean",
    "repo": "someone/upstream",
    "revision": "a" * 40,
    "file": "r50.pt",
    "size": 7,
    "sha256": "5" * 64,
    "format": "official_pytorch",
    "license": "MIT",
    "license_note": "as their code",
    "provenance": "a third party's upload",
    "figures": [],
    "figures_note": "",
}


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def published(weights=b"weights", metadata=METADATA, config=CONFIG, **more):
    """The files of a repository; the tool builds no network, so the weights need be none."""
    files = {
        "config.json": json.dumps(config).encode(),
        "preprocessor.json": b'{"size": 224}',
        "model.weights.h5": weights,
        **more,
    }
    hashes = {name: sha256(data) for name, data in files.items()}
    metadata = {"sha256": hashes, **metadata}
    return {**files, "metadata.json": json.dumps(metadata).encode()}


def without(record, key):
    return {k: value for k, value in record.items() if k != key}


@pytest.fixture
def manifest(tmp_path):
    path = tmp_path / "manifest.json"
    content = {"format_version": 1, "presets": {}, "checkpoints": {}}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def pin(client, manifest):
    def pin(*arguments, stdin=None):
        before = manifest.read_bytes()
        command = [TOOL, *arguments, "--manifest", manifest]
        done = run_in_forks.run(command, client.environment, stdin)
        changed = manifest.read_bytes() != before
        return SimpleNamespace(
            code=done.returncode, error=done.stderr.strip().split("\n")[-1], changed=changed
        )

    return pin


def entry_in(manifest, kind="presets"):
    return json.loads(manifest.read_text(encoding="utf-8"))[kind][NAME]


def refused(done, *words):
    assert (done.code, done.changed) == (1, False)
    assert done.error.startswith("error: ")
    for word in words:
        assert word in done.error
    return True


def test_a_published_preset_is_pinned_with_commit_sizes_and_hashes(hub, pin, manifest):
    files = published()
    commit = hub.commit(REPO, files)
    assert pin(NAME, f"hf://{REPO}").code == 0
    assert entry_in(manifest) == {
        "description": "a test",
        "architecture": "resnet50",
        "descriptor_dim": 128,
        "dataset": "my photographs",
        "source": {"repo": REPO, "revision": commit},
        "files": {n: {"size": len(d), "sha256": sha256(d)} for n, d in files.items()},
        "license": "Apache-2.0",
        "license_note": "",
        "provenance": "trained by me",
        "figures": METADATA["figures"],
        "figures_note": "",
    }
    assert load_manifest(manifest).presets[NAME].figures[0].value == 81.2


def test_of_a_whitened_preset_the_final_length_is_pinned(hub, pin, manifest):
    dolg = {**CONFIG["dolg"], "whitened_dim": 64}
    hub.commit(REPO, published(config={**CONFIG, "dolg": dolg}))
    assert pin(NAME, f"hf://{REPO}").code == 0
    assert entry_in(manifest)["descriptor_dim"] == 64


def test_a_margin_head_is_pinned_too(hub, pin, manifest):
    files = published(config={**CONFIG, "margin_head": {}}, **{"margin_head.npz": b"head"})
    hub.commit(REPO, files)
    assert pin(NAME, f"hf://{REPO}").code == 0
    assert entry_in(manifest)["files"]["margin_head.npz"] == {"size": 4, "sha256": sha256(b"head")}


def test_a_new_commit_with_the_same_bytes_is_taken(hub, pin, manifest):
    hub.commit(REPO, published())
    pin(NAME, f"hf://{REPO}")
    commit = hub.commit(REPO, {**published(), "README.md": b"a card"})
    assert pin(NAME).code == 0
    assert entry_in(manifest)["source"]["revision"] == commit


def test_the_documents_command_pins_what_was_published(hub, pin, manifest, tmp_path):
    hub.commit(REPO, published())
    pin(NAME, f"hf://{REPO}")
    entry = tmp_path / "entry.json"
    entry.write_text(json.dumps({"commit": "a" * 40, "entry": entry_in(manifest)}))
    page = (TOOL.parents[1] / "docs" / "publish.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^python tools/pin_manifest.py (.+)$", page, re.MULTILINE)
    name, *options = command.replace("entry.json", str(entry)).split()
    assert pin(name, *options).code == 0
    presets = json.loads(manifest.read_text(encoding="utf-8"))["presets"]
    assert presets[name] == presets[NAME]


def test_other_bytes_are_taken_only_when_they_are_accepted(hub, pin, manifest):
    same = {**METADATA, "sha256": {}}  # so that the weights alone differ
    hub.commit(REPO, published(metadata=same))
    pin(NAME, f"hf://{REPO}")
    hub.commit(REPO, published(b"other", metadata=same), branch="next")
    done = pin(NAME, "--revision", "next")
    assert refused(done, "model.weights.h5", sha256(b"weights"), sha256(b"other"))
    assert pin(NAME, "--revision", "next", "--accept-change").code == 0
    assert entry_in(manifest)["files"]["model.weights.h5"]["sha256"] == sha256(b"other")


def test_a_checkpoint_is_refreshed_and_keeps_what_is_said_of_it(hub, pin, manifest):
    content = json.loads(manifest.read_text())
    commit = hub.commit("someone/upstream", {"r50.pt": b"weights"})
    content["checkpoints"][NAME] = {**CHECKPOINT, "sha256": sha256(b"weights")}
    manifest.write_text(json.dumps(content))
    assert pin(NAME).code == 0
    expected = {**CHECKPOINT, "sha256": sha256(b"weights"), "revision": commit}
    assert entry_in(manifest, "checkpoints") == expected
    hub.commit("someone/upstream", {"r50.pt": b"others!"})
    assert refused(pin(NAME), "r50.pt", sha256(b"weights"), sha256(b"others!"))


@pytest.mark.parametrize("kind", ["presets", "checkpoints"])
def test_an_entry_is_added_once_its_files_are_those_it_says(hub, pin, manifest, tmp_path, kind):
    if kind == "presets":
        hub.commit(REPO, published())
        pin(NAME, f"hf://{REPO}")
        entry = entry_in(manifest)
        wrong = copy.deepcopy(entry)
        wrong["files"]["model.weights.h5"]["sha256"] = "0" * 64
    else:
        commit = hub.commit("someone/upstream", {"r50.pt": b"weights"})
        entry = {**CHECKPOINT, "revision": commit, "sha256": sha256(b"weights")}
        wrong = {**entry, "sha256": "0" * 64}
    empty = {"format_version": 1, "presets": {}, "checkpoints": {}}
    manifest.write_text(json.dumps(empty))
    (tmp_path / "entry.json").write_text(json.dumps(wrong))
    assert refused(pin(NAME, "--entry", tmp_path / "entry.json"), "0" * 64)
    assert pin(NAME, "--entry", "-", stdin=json.dumps(entry)).code == 0
    assert entry_in(manifest, kind) == entry


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (published(metadata=without(METADATA, "dataset")), ["metadata.json", "lacks dataset"]),
        (published(metadata={**METADATA, "license": "all mine"}), ["license", "'all mine'"]),
        (published(metadata={**METADATA, "figures": [81]}), ["figures[0]", "81"]),
        (published(config={"dolg": {"backbone": None}}), ["backbone None"]),
        (published(config={"dolg": {"backbone": "resnet101"}}), ["dolg_resnet101_<tag>"]),
        (published() | {"model.weights.h5": b"other"}, ["model.weights.h5", sha256(b"other")]),
        (published(**{"preprocessor.json": b"[" * 9999}), ["recursion"]),
        (published() | {"config.json": b"[]"}, ["config.json", "list"]),
        (without(published(), "preprocessor.json"), ["preprocessor.json"]),
    ],
)
def test_what_is_no_preset_is_not_pinned(hub, pin, files, words):
    hub.commit(REPO, files)
    assert refused(pin(NAME, f"hf://{REPO}"), *words)


def test_a_name_that_is_not_known_needs_a_place(pin):
    assert refused(pin(NAME), NAME, "hf://user/repo")


def test_an_entry_that_is_no_object_is_refused(pin):
    assert refused(pin(NAME, "--entry", "-", stdin="3"), "int")

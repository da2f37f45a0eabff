import copy
import json
from pathlib import Path

import pytest
from _pinning import write_entry

from dolg_zoo.presets import DEFAULT_PRESET
from dolg_zoo.publishing.metadata import pinned_preset
from dolg_zoo.weights import ManifestError
from dolg_zoo.weights.manifest import FileHash, HubSource, load_manifest

SHIPPED = Path(__file__).resolve().parents[2] / "weights_manifest.json"
NAME, CHECKPOINT = "dolg_resnet50_mine", "dolg_resnet50_gldv2"
FILES = ["config.json", "preprocessor.json", "metadata.json", "model.weights.h5"]
METADATA = {
    "name": "their name for it",
    "description": "a test",
    "dataset": "my photographs",
    "license": "mit",
    "license_note": "mine",
    "provenance": "trained by me",
    "limits": "photographs of Vietnam",
    "figures_note": "measured once",
    "sha256": {},
}


def pinned(metadata=METADATA, files=FILES, dim=128):
    hashes = dict.fromkeys(files, FileHash(7, "5" * 64))
    source = HubSource("user/repo", "c" * 40)
    return pinned_preset(source, hashes, metadata, architecture="resnet50", descriptor_dim=dim)


@pytest.fixture
def manifest(tmp_path):
    path = tmp_path / "manifest.json"
    path.write_bytes(SHIPPED.read_bytes())
    return path


def content_of(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_an_entry_takes_from_the_metadata_what_the_manifest_states():
    assert pinned() == {
        "description": "a test",
        "architecture": "resnet50",
        "descriptor_dim": 128,
        "dataset": "my photographs",
        "source": {"repo": "user/repo", "revision": "c" * 40},
        "files": {name: {"size": 7, "sha256": "5" * 64} for name in FILES},
        "license": "MIT",
        "license_note": "mine",
        "provenance": "trained by me",
        "figures": [],
        "figures_note": "measured once",
    }


def test_all_that_the_metadata_lacks_is_named():
    with pytest.raises(ManifestError, match="lacks description, dataset, license, provenance"):
        pinned({})


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ({"metadata": {**METADATA, "figures": {}}}, "figures is {}"),
        ({"metadata": {**METADATA, "provenance": ["me"]}}, r"provenance is \['me'\]"),
        ({"files": FILES[1:]}, r"files lacks the field 'config\.json'"),
        ({"files": [*FILES, "run.py"]}, r"'run\.py'"),
        ({"dim": 1.5}, r"descriptor_dim is 1\.5"),
    ],
)
def test_an_entry_that_is_malformed_is_not_written(manifest, call, words):
    before = manifest.read_bytes()
    with pytest.raises(ManifestError, match=words):
        write_entry(manifest, NAME, pinned(**call), accept_change=False)
    assert manifest.read_bytes() == before


@pytest.mark.parametrize("license", ["mine", 5, ["MIT"]])
def test_a_license_that_is_no_spdx_expression_is_named(license):
    with pytest.raises(ManifestError, match=r"of user/repo is no SPDX expression"):
        pinned({**METADATA, "license": license})


def test_a_new_entry_changes_no_other_line(manifest):
    before = manifest.read_text(encoding="utf-8").splitlines()
    write_entry(manifest, NAME, pinned(), accept_change=False)
    after = manifest.read_text(encoding="utf-8").splitlines()
    assert load_manifest(manifest).presets[NAME].descriptor_dim == 128
    start = next(place for place, line in enumerate(after) if NAME in line)
    added = len(after) - len(before)
    assert after[: start - 1] + after[start + added :] == before[: start - 1] + before[start:]


def test_the_same_entry_again_changes_nothing(manifest):
    before = manifest.read_bytes()
    entry = content_of(manifest)["checkpoints"][CHECKPOINT]
    write_entry(manifest, CHECKPOINT, entry, accept_change=False)
    assert manifest.read_bytes() == before


def test_what_is_said_and_the_revision_may_change(manifest):
    entry = content_of(manifest)["checkpoints"][CHECKPOINT]
    entry |= {"revision": "d" * 40, "provenance": "known better now"}
    write_entry(manifest, CHECKPOINT, entry, accept_change=False)
    assert load_manifest(manifest).checkpoints[CHECKPOINT].source.revision == "d" * 40


@pytest.mark.parametrize(
    "change", [{"sha256": "0" * 64}, {"size": 8}, {"file": "other.pt"}], ids=lambda c: next(iter(c))
)
def test_other_bytes_of_a_checkpoint_need_to_be_accepted(manifest, change):
    before = manifest.read_bytes()
    old = content_of(manifest)["checkpoints"][CHECKPOINT]
    with pytest.raises(ManifestError, match=rf"r50_dolg_512\.pt .*{old['sha256']}"):
        write_entry(manifest, CHECKPOINT, {**old, **change}, accept_change=False)
    assert manifest.read_bytes() == before
    write_entry(manifest, CHECKPOINT, {**old, **change}, accept_change=True)
    assert content_of(manifest)["checkpoints"][CHECKPOINT] == {**old, **change}


def test_a_change_is_named_by_file_and_both_hashes(manifest):
    write_entry(manifest, NAME, pinned(), accept_change=False)
    entry = copy.deepcopy(pinned())
    entry["files"]["model.weights.h5"]["sha256"] = "6" * 64
    with pytest.raises(ManifestError, match=rf"model\.weights\.h5 .*{'5' * 64}.*{'6' * 64}"):
        write_entry(manifest, NAME, entry, accept_change=False)


def test_a_margin_head_may_come_but_not_go(manifest):
    with_head = pinned(files=[*FILES, "margin_head.npz"])
    write_entry(manifest, NAME, pinned(), accept_change=False)
    write_entry(manifest, NAME, with_head, accept_change=False)
    with pytest.raises(ManifestError, match=r"margin_head\.npz .*no longer there"):
        write_entry(manifest, NAME, pinned(), accept_change=False)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        (NAME, {"license": "mine"}, "license is 'mine'"),
        (NAME, {"extra": 1}, "unknown field 'extra'"),
        ("Mine!", {}, "'Mine!'"),
        (CHECKPOINT, {}, "both a preset and a checkpoint"),
    ],
)
def test_a_manifest_never_becomes_malformed(manifest, name, change, words):
    before = manifest.read_bytes()
    with pytest.raises(ManifestError, match=words):
        write_entry(manifest, name, {**pinned(), **change}, accept_change=True)
    assert manifest.read_bytes() == before


def test_a_malformed_manifest_is_left_as_it_is(manifest):
    manifest.write_text('{"format_version": 1}')
    with pytest.raises(ManifestError, match="lacks the field"):
        write_entry(manifest, NAME, pinned(), accept_change=True)
    assert manifest.read_text() == '{"format_version": 1}'


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(manifest, monkeypatch):
    before = manifest.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_entry(manifest, NAME, pinned(), accept_change=False)
    assert manifest.read_bytes() == before
    assert list(manifest.parent.iterdir()) == [manifest]


def test_a_link_stays_a_link_and_rights_stay(manifest, tmp_path):
    link = Path(tmp_path, "link.json")
    link.symlink_to(manifest)
    manifest.chmod(0o640)
    write_entry(link, NAME, pinned(), accept_change=False)
    assert link.is_symlink()
    assert NAME in load_manifest(manifest).presets
    assert manifest.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("field", ["license", "source"])
def test_a_preset_of_the_package_is_not_moved_or_licensed_anew_unseen(manifest, field):
    name = DEFAULT_PRESET
    entry = content_of(manifest)["presets"][name]
    entry[field] = {"license": "MIT", "source": {"repo": "me/a", "revision": "c" * 40}}[field]
    before = manifest.read_bytes()
    with pytest.raises(ManifestError, match=f"{field} of {name}"):
        write_entry(manifest, name, entry, accept_change=False)
    assert manifest.read_bytes() == before
    write_entry(manifest, name, entry, accept_change=True)
    assert content_of(manifest)["presets"][name][field] == entry[field]

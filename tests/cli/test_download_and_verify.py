"""`dolg download` and `dolg verify`, each in a process of its own, over a Hub on loopback."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import run_in_forks

from dolg_zoo.presets import DEFAULT_PRESET, origins
from dolg_zoo.presets.origins import EMBEDDED
from dolg_zoo.presets.verification import verify_preset
from dolg_zoo.weights.manifest import PRESET_FILES

NAME, REPO = "dolg_far_away", "someone/far-away"
WEIGHTS = "model.weights.h5"
DOLG = Path(__file__).with_name("dolg_with_manifest.py")


@pytest.fixture(scope="module")
def files():
    """A preset whose weights are no weights: only bytes are looked at here."""
    folder = EMBEDDED / DEFAULT_PRESET
    files = {name: (folder / name).read_bytes() for name in PRESET_FILES}
    weights = np.random.default_rng(0).bytes(500_000)
    metadata = json.loads(files["metadata.json"])
    metadata["sha256"][WEIGHTS] = hashlib.sha256(weights).hexdigest()
    return files | {WEIGHTS: weights, "metadata.json": json.dumps(metadata).encode()}


@pytest.fixture
def manifest(hub, files, tmp_path):
    entry = {
        "description": "a test",
        "architecture": "efficientnet_lite_b0",
        "descriptor_dim": 512,
        "dataset": "ImageNet-1k",
        "source": {"repo": REPO, "revision": hub.commit(REPO, files)},
        "files": {
            name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in files.items()
        },
        "license": "Apache-2.0",
        "license_note": "",
        "provenance": "a test",
        "figures": [],
        "figures_note": "",
    }
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({"format_version": 1, "presets": {NAME: entry}, "checkpoints": {}}))
    return path


@pytest.fixture
def dolg(client, manifest, tmp_path):
    def run(*arguments, **environment):
        environment = {"DOLG_ZOO_CACHE": str(tmp_path / "cache"), **environment}
        return run_in_forks.run([DOLG, manifest, *arguments], client.environment | environment)

    return run


@pytest.fixture
def seed(hub, client, manifest):
    """Puts a repository's preset into the cache as a user's earlier call would have done."""

    def fetch(repo=REPO):
        revision = {"revision": hub.repos[repo].head[0]} if repo == REPO else {}
        names = ["config.json", "preprocessor.json", "metadata.json", WEIGHTS]
        assert "folder" in client.call("fetch_repo", repo_id=repo, files=names, **revision)

    return fetch


def cached(client, name=WEIGHTS):
    [path] = client.cache.glob(f"models--*/snapshots/*/{name}")
    return path


def flip_a_byte(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_what_was_downloaded_is_verified_bytes_in_a_folder(dolg, files):
    done = dolg("download", NAME, "--json")
    assert done.returncode == 0, done.stderr
    [record] = json.loads(done.stdout)
    assert record["preset"] == NAME
    assert record["bytes"] == sum(map(len, files.values()))
    found = {path.name: path.read_bytes() for path in Path(record["folder"]).iterdir()}
    assert found == files


def test_to_download_takes_no_tensorflow(dolg, tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('imported')")
    done = dolg("download", NAME, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr


def test_all_is_what_the_manifest_lists(dolg, hub):
    done = dolg("download", "--all")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{NAME}: 0.5 MiB, ready after")
    assert hub.count("GET") == 4


def test_one_that_fails_does_not_cost_the_others(dolg):
    done = dolg("download", "hf://no/body", NAME)
    assert done.returncode == 1
    assert "hf://no/body" in done.stderr and "1 of 2 could not be downloaded" in done.stderr
    assert done.stdout.startswith(f"{NAME}: ")


def test_a_repository_is_fetched_and_its_commit_said(dolg, hub, files):
    commit = hub.commit("someone/else", files)
    done = dolg("download", "hf://someone/else")
    assert done.stdout.startswith(f"hf://someone/else@{commit}: ")
    assert f"hf://someone/else@{commit} always gives these weights" in done.stderr


@pytest.mark.parametrize("arguments", [[], [NAME, "--all"]])
def test_either_names_or_all(dolg, arguments):
    assert dolg("download", *arguments).returncode == 2


def test_without_a_network_the_command_for_another_machine_is_named(dolg, client, files):
    done = dolg("download", NAME, HF_HUB_OFFLINE="1")
    assert done.returncode == 1
    names = " ".join(["config.json", "preprocessor.json", "metadata.json", WEIGHTS])
    assert f"`hf download {REPO} {names} --revision " in done.stderr
    assert f"hub/models--someone--far-away into {client.cache}" in done.stderr


def test_a_sound_cache_is_good(dolg, seed):
    assert dolg("verify").stdout == ""
    seed()
    done = dolg("verify")
    assert done.returncode == 0
    assert done.stdout == f"good      {NAME}  (4 files, 0.5 MiB)\n"


def test_a_flipped_byte_is_named_with_both_hashes_and_repaired(dolg, seed, client, files):
    seed()
    flip_a_byte(cached(client))
    bad = cached(client).read_bytes()
    done = dolg("verify", NAME)
    assert done.returncode == 1
    for word in (
        "bad ",
        str(cached(client)),
        hashlib.sha256(bad).hexdigest(),
        hashlib.sha256(files[WEIGHTS]).hexdigest(),
    ):
        assert word in done.stdout
    assert "--repair" in done.stderr
    repaired = dolg("verify", NAME, "--repair")
    assert (repaired.returncode, repaired.stdout[:9]) == (0, "repaired ")
    assert cached(client).read_bytes() == files[WEIGHTS]
    assert dolg("verify", NAME).stdout.startswith("good")


def test_what_cannot_be_repaired_stays_bad(dolg, seed, client):
    seed()
    flip_a_byte(cached(client))
    done = dolg("verify", "--repair", HF_HUB_OFFLINE="1")
    assert done.returncode == 1
    assert done.stdout.startswith("bad ") and "HF_HUB_OFFLINE" in done.stderr


def test_a_repository_that_nothing_pins_is_held_to_what_the_hub_stated(
    dolg, seed, hub, client, files
):
    name = "config.json"
    commit = hub.commit("someone/else", files)
    seed("someone/else")
    flip_a_byte(cached(client, name))
    done = dolg("verify", "--json")
    assert done.returncode == 1
    [record] = json.loads(done.stdout)
    assert (record["preset"], record["state"]) == (f"hf://someone/else@{commit}", "bad")
    assert [Path(file["path"]).name for file in record["files"] if file["fault"]] == [name]
    assert dolg("verify", "hf://someone/else", "--repair").returncode == 0
    assert cached(client, name).read_bytes() == files[name]


def test_a_preset_that_is_not_cached_is_no_good_preset(dolg):
    done = dolg("verify", NAME, "hf://no/body", "no-such-folder")
    assert done.returncode == 1
    assert f"`dolg download {NAME}` downloads it" in done.stderr
    assert done.stdout.count("absent ") == 2 and "3 of 3 not good" in done.stderr


@pytest.mark.parametrize("name", [NAME, f"hf://{REPO}@"])
def test_a_preset_that_is_there_in_part_is_bad_and_can_be_completed(dolg, seed, hub, client, name):
    name += hub.repos[REPO].head[0] if name.endswith("@") else ""
    seed()
    cached(client).unlink()
    done = dolg("verify", name)
    assert done.returncode == 1
    assert f"{WEIGHTS}: it is missing" in done.stdout
    assert dolg("verify", name, "--repair").stdout.startswith("repaired ")
    assert cached(client).is_file()


@pytest.fixture
def converted(official_stand_in, tmp_path):
    shutil.copytree(official_stand_in, tmp_path / "cache")
    [folder] = (tmp_path / "cache" / "converted").iterdir()
    return folder


def test_a_kept_conversion_is_held_to_its_own_hashes(dolg, manifest, converted):
    own = Path(__file__).parents[2] / "weights_manifest.json"
    shutil.copy(own, manifest)
    good = dolg("verify", "dolg_resnet50_gldv2")
    assert (good.returncode, good.stdout[:4]) == (0, "good"), good.stderr
    flip_a_byte(converted / WEIGHTS)
    bad = dolg("verify")
    assert bad.returncode == 1
    assert str(converted / WEIGHTS) in bad.stdout
    [line] = [line for line in bad.stdout.splitlines() if line.startswith("bad ")]
    assert "dolg_resnet50_gldv2" in line


def test_a_folder_of_ones_own_is_verified_and_not_repaired(dolg, converted):
    assert dolg("verify", str(converted)).returncode == 0
    (converted / "config.json").write_text("{}")
    done = dolg("verify", str(converted), "--repair")
    assert done.returncode == 1 and "save it again" in done.stderr


def test_only_files_of_a_preset_are_looked_at_whatever_metadata_names(dolg, converted):
    metadata = json.loads((converted / "metadata.json").read_text())
    metadata["sha256"]["../../secret"] = "0" * 64
    (converted / "metadata.json").write_text(json.dumps(metadata))
    assert "secret" not in dolg("verify", str(converted)).stdout


@pytest.mark.parametrize(("lost", "name"), [("file", "preprocessor.json"), ("hash", WEIGHTS)])
def test_a_folder_that_lacks_a_file_or_its_hash_is_not_good(dolg, converted, name, lost):
    if lost == "file":
        (converted / name).unlink()
    else:
        metadata = json.loads((converted / "metadata.json").read_text())
        del metadata["sha256"][name]
        (converted / "metadata.json").write_text(json.dumps(metadata))
    done = dolg("verify", str(converted))
    assert done.returncode == 1 and name in done.stdout


@pytest.mark.parametrize("name", ["config.json", "metadata.json"])
def test_a_pipe_in_place_of_a_file_does_not_hang(dolg, converted, name):
    (converted / name).unlink()
    os.mkfifo(converted / name)
    done = dolg("verify", str(converted))
    assert done.returncode == 1 and "it is not a file" in done.stdout


@pytest.mark.parametrize("harm", ["blob", "ref", "file"])
def test_all_that_is_cached_includes_what_the_hub_client_takes_for_corrupted(
    dolg, seed, hub, client, files, harm
):
    hub.commit("someone/else", files)
    seed("someone/else")
    if harm == "blob":
        cached(client).resolve().unlink()
    elif harm == "file":
        cached(client).unlink()
    else:
        flip_a_byte(cached(client))
        refs = cached(client).parents[2] / "refs"
        (refs / "other").write_text("a" * 40)
    done = dolg("verify")
    assert done.returncode == 1 and "hf://someone/else@" in done.stdout


def test_a_cache_without_links_is_verified_by_what_the_hub_states(dolg, client, hub, files):
    commit = hub.commit("someone/else", files)
    names = ["config.json", "preprocessor.json", "metadata.json", WEIGHTS]
    client.call_without_links("fetch_repo", repo_id="someone/else", files=names)
    assert not cached(client).is_symlink()
    good = dolg("verify", f"hf://someone/else@{commit}")
    assert good.stdout.startswith("good "), good.stdout
    flip_a_byte(cached(client))
    assert dolg("verify").returncode == 1


def test_what_was_published_wrong_is_neither_ready_nor_good(dolg, seed, hub, files):
    hub.commit("someone/else", files | {WEIGHTS: b"of another preset"})
    ready = dolg("download", "hf://someone/else")
    assert ready.returncode == 1 and "was published wrong" in ready.stderr
    assert dolg("verify", "hf://someone/else").returncode == 1


def test_a_folder_needs_no_download(dolg, tmp_path):
    done = dolg("download", str(tmp_path))
    assert done.returncode == 1 and "is on this machine already" in done.stderr


@pytest.mark.parametrize("content", ["", "[]", '{"sha256": 7}', '{"sha256": {"config.json": 7}}'])
def test_a_senseless_metadata_is_bad(dolg, converted, content):
    (converted / "metadata.json").write_text(content)
    done = dolg("verify", str(converted))
    assert done.returncode == 1
    assert "metadata.json" in done.stdout and "unexpected" not in done.stderr


def test_a_changed_file_of_the_package_is_bad_and_asks_for_a_reinstall(tmp_path, monkeypatch):
    assert not any(file.fault for file in verify_preset(DEFAULT_PRESET))
    shutil.copytree(EMBEDDED, tmp_path / "embedded")
    monkeypatch.setattr(origins, "EMBEDDED", tmp_path / "embedded")
    flip_a_byte(tmp_path / "embedded" / DEFAULT_PRESET / WEIGHTS)
    [bad] = [file for file in verify_preset(DEFAULT_PRESET) if file.fault]
    assert bad.path.name == WEIGHTS and bad.fetch_again is None

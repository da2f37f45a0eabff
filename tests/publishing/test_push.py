import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from fake_hub import TOKEN
from small_model import STATED

import dolg_zoo
from dolg_zoo import DOLG
from dolg_zoo.publishing import PublishError, push_to_hub

PRESET = ("config.json", "preprocessor.json", "metadata.json", "model.weights.h5")
WITH_PAGE = {*PRESET, "README.md", "architecture.png"}
REPO = "me/toy"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def published(logged_in, folder):
    return push_to_hub(folder, REPO)


def test_what_arrives_in_one_commit_is_the_preset_byte_for_byte(published, logged_in, folder):
    arrived = logged_in.files(REPO)
    assert {name: arrived[name] for name in PRESET} == contents(folder)
    assert arrived.keys() == WITH_PAGE | {".gitattributes"}
    assert logged_in.repos[REPO].messages == ["initial commit", "Publish toy with dolg-zoo"]
    assert published.commit == logged_in.repos[REPO].head[0]
    assert published.url == f"{logged_in.endpoint}/{REPO}/tree/{published.commit}"


def test_metadata_to_which_nothing_is_added_keeps_its_bytes(logged_in, folder):
    path = folder / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text())))
    push_to_hub(folder, REPO, metadata={"license": STATED["license"]})
    assert logged_in.files(REPO)["metadata.json"] == path.read_bytes()


def test_it_loads_from_the_hub_with_the_same_descriptors(published, folder, rng):
    image = rng.integers(0, 256, (40, 50, 3), np.uint8)
    for name in (f"hf://{REPO}", f"hf://{REPO}@{published.commit}"):
        found = DOLG.from_preset(name).embed([image])
        np.testing.assert_array_equal(found, DOLG.from_preset(folder).embed([image]))


def test_the_entry_pins_what_the_hub_holds(published, logged_in):
    arrived = logged_in.files(REPO)
    assert published.entry == {
        **STATED,
        "architecture": "custom",
        "descriptor_dim": 6,
        "source": {"repo": REPO, "revision": published.commit},
        "files": {
            name: {
                "size": len(arrived[name]),
                "sha256": hashlib.sha256(arrived[name]).hexdigest(),
            }
            for name in PRESET
        },
        "license_note": "",
        "figures": [],
        "figures_note": "",
    }


def test_the_page_is_what_the_hub_reads_and_lists_every_file_with_its_sha256(published, logged_in):
    arrived = logged_in.files(REPO)
    page = arrived["README.md"].decode()
    for name in WITH_PAGE - {"README.md"}:
        sha256 = hashlib.sha256(arrived[name]).hexdigest()
        assert f"| `{name}` | {len(arrived[name])} | `{sha256}` |" in page
    header = yaml.safe_load(page.split("---\n")[1])
    assert header["license"] == "cc0-1.0"
    assert header["library_name"] == "dolg-zoo"


def test_a_model_is_published_with_its_margin_head(model, margin_head, logged_in):
    published = push_to_hub(model, REPO, margin_head=margin_head)
    head = DOLG.from_preset(f"hf://{REPO}").load_margin_head()
    np.testing.assert_array_equal(head.centers, margin_head.centers)
    assert "margin_head.npz" in published.entry["files"]
    assert b"centers of 4 classes" in logged_in.files(REPO)["README.md"]


def test_what_an_earlier_version_had_and_this_one_has_not_disappears(
    model, margin_head, folder, logged_in, tmp_path
):
    model.save_to_preset(tmp_path / "kept", margin_head)
    (tmp_path / "kept" / "report.json").write_text('{"tensors": 3}')
    push_to_hub(tmp_path / "kept", REPO)
    arrived = logged_in.files(REPO)
    assert arrived.keys() - WITH_PAGE == {".gitattributes", "margin_head.npz", "report.json"}
    head = (tmp_path / "kept" / "margin_head.npz").read_bytes()
    assert arrived["margin_head.npz"] == head
    push_to_hub(folder, REPO)
    assert logged_in.files(REPO).keys() == WITH_PAGE | {".gitattributes"}
    assert len(logged_in.repos[REPO].commits) == 3


def test_the_same_again_from_a_copy_elsewhere_makes_no_commit(published, logged_in, folder):
    again = push_to_hub(shutil.copytree(folder, folder.parent / "elsewhere"), REPO)
    assert again == published
    assert len(logged_in.repos[REPO].commits) == 2


def test_what_else_lies_in_the_folder_is_not_published(logged_in, folder):
    (folder / "secret.txt").write_text("secret")
    (folder / "margin_head.npz").write_bytes(b"of which config.json says nothing")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("secret")
    push_to_hub(folder, REPO)
    assert logged_in.files(REPO).keys() == WITH_PAGE | {".gitattributes"}


def test_what_is_given_beside_it_is_written_into_the_metadata(logged_in, folder):
    figure = {"value": 0.5, "metric": "mAP", "dataset": "toys", "source": "me"}
    given = {"license": "apache-2.0", "figures": [figure], "limits": "All."}
    files = contents(folder)
    published = push_to_hub(folder, REPO, metadata=given, message="A better toy")
    assert contents(folder) == files
    assert logged_in.repos[REPO].messages[-1] == "A better toy"
    before = json.loads(files["metadata.json"])
    arrived = json.loads(logged_in.files(REPO)["metadata.json"])
    assert arrived == {**before, **given}
    assert published.entry["license"] == "Apache-2.0"
    assert published.entry["figures"] == [figure]
    DOLG.from_preset(f"hf://{REPO}@{published.commit}")


def test_large_files_go_in_parts_where_the_hub_asks_for_it(logged_in, folder):
    logged_in.part_size = 10_000
    push_to_hub(folder, REPO)
    weights = (folder / "model.weights.h5").read_bytes()
    assert logged_in.files(REPO)["model.weights.h5"] == weights
    assert logged_in.count("complete") >= 1


def test_a_private_one_is_seen_by_its_owner_alone(logged_in, folder, monkeypatch):
    push_to_hub(folder, REPO, private=True)
    assert logged_in.repos[REPO].private
    DOLG.from_preset(f"hf://{REPO}")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder.parent / "other"))
    with pytest.raises(dolg_zoo.weights.DownloadError, match="HF_TOKEN"):
        DOLG.from_preset(f"hf://{REPO}")


def test_private_never_becomes_public_because_the_repository_is(published, logged_in, model):
    with pytest.raises(PublishError, match=r"public.*Nothing was published"):
        push_to_hub(model, REPO, private=True, metadata={"description": "Private."})
    assert len(logged_in.repos[REPO].commits) == 2


def test_the_report_of_a_conversion_is_published_and_shown(logged_in, folder):
    report = {"tensors": 316, "largest_difference": 2.2e-6, "differences": {"taps|64x64": 1e-7}}
    (folder / "report.json").write_text(json.dumps(report))
    push_to_hub(folder, REPO)
    arrived = logged_in.files(REPO)
    assert json.loads(arrived["report.json"]) == report
    assert b"| largest_difference | 2.2e-06 |" in arrived["README.md"]
    assert b"| differences: taps&#124;64x64 | 1e-07 |" in arrived["README.md"]


@pytest.mark.slow
def test_from_the_environment_alone_in_a_process_of_its_own(hub, folder, tmp_path):
    script = (
        "import sys, dolg_zoo.publishing as p\n"
        "made = p.push_to_hub(sys.argv[1], 'me/toy')\n"
        "from dolg_zoo import DOLG\n"
        "print(made.commit, DOLG.from_preset('hf://me/toy').descriptor_dim)"
    )
    env = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    env |= {
        "PYTHONPATH": str(Path(dolg_zoo.__file__).parents[1]),
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_TOKEN": TOKEN,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1",
    }
    done = subprocess.run(
        [sys.executable, "-c", script, folder], env=env, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == [hub.repos["me/toy"].head[0], "6"], done.stderr

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_manifest import COMMIT, FILE, PRESET_FILES, REMOVED, SHA256, WELL_FORMED, altered, write

import dolg_zoo
from dolg_zoo import BACKBONES
from dolg_zoo.weights import ManifestError, RemoteFile, load_manifest


def load(tmp_path, content):
    return load_manifest(write(tmp_path, content))


def test_a_preset_lists_its_files_with_their_pins(tmp_path):
    preset = load(tmp_path, WELL_FORMED).presets["small_imagenet"]
    assert preset.remote_files == tuple(
        RemoteFile("user/repo", COMMIT, name, 7, SHA256) for name in PRESET_FILES
    )
    assert preset.figures[0].value == 81.2


def test_a_checkpoint_is_one_pinned_file(tmp_path):
    checkpoint = load(tmp_path, WELL_FORMED).checkpoints["big_gldv2"]
    assert checkpoint.file == RemoteFile("user/repo", COMMIT, "big.pt", 7, SHA256)
    assert checkpoint.format == "official_pytorch"


def test_both_kinds_can_be_asked_for_by_name(tmp_path):
    entries = load(tmp_path, WELL_FORMED).entries
    assert [(name, entry.size) for name, entry in entries.items()] == [
        ("big_gldv2", 7),
        ("small_imagenet", 4 * 7),
    ]


def test_a_preset_may_keep_its_margin_head(tmp_path):
    content = altered("presets/small_imagenet/files/margin_head.npz", FILE)
    files = load(tmp_path, content).presets["small_imagenet"].remote_files
    assert [file.path for file in files] == [*PRESET_FILES, "margin_head.npz"]


def test_a_manifest_may_name_its_schema(tmp_path):
    assert load(tmp_path, {"$schema": "a/file.json", **WELL_FORMED}).presets


def test_an_embedded_preset_has_nothing_to_fetch(tmp_path):
    content = altered("presets/small_imagenet/source", "embedded")
    preset = load(tmp_path, content).presets["small_imagenet"]
    assert preset.source is None
    assert preset.remote_files == ()
    assert list(preset.files) == PRESET_FILES


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("format_version", 2, "the format_version 2, and this dolg-zoo reads 1"),
        ("format_version", REMOVED, "format_version None"),
        ("presets", [], r"presets must be an object, got '\[\]'"),
        ("checkpoints", REMOVED, "checkpoints must be an object"),
        ("presets/small_imagenet", 5, "presets: small_imagenet is malformed"),
        ("presets/small_imagenet/license", REMOVED, "small_imagenet is malformed: .*license"),
        ("presets/small_imagenet/licence", "MIT", "small_imagenet is malformed: .*licence"),
        ("presets/small_imagenet/files", [], "small_imagenet is malformed"),
        ("presets/small_imagenet/source", 5, "small_imagenet is malformed"),
        ("presets/small_imagenet/figures", 5, "small_imagenet is malformed"),
        ("presets/small_imagenet/figures/0/value", "x", "small_imagenet is malformed"),
        ("checkpoints/big_gldv2/sha256", REMOVED, "checkpoints: big_gldv2 is malformed: .*sha256"),
    ],
)
def test_other_fields_are_refused_by_the_entry(tmp_path, place, value, words):
    with pytest.raises(ManifestError, match=rf"manifest\.json.*{words}"):
        load(tmp_path, altered(place, value))


def test_the_shipped_manifest_pins_the_upstream_checkpoints():
    """The sizes and hashes are those of the upload's own page."""
    files = {name: entry.file for name, entry in load_manifest().checkpoints.items()}
    commit = "432c3d3939a0eb0e46d73126935025b8435d65b9"
    assert files == {
        "dolg_resnet50_gldv2": RemoteFile(
            "Shiro/DOLG",
            commit,
            "r50_dolg_512.pt",
            277694709,
            "d5548bc7daa330b9396607411160b3c33cd2f0acc00f21daae849f390534d991",
        ),
        "dolg_resnet101_gldv2": RemoteFile(
            "Shiro/DOLG",
            commit,
            "r101_dolg_512.pt",
            353977741,
            "fa86f4bad51ec4f5d060108cdae7e09b82e0f62f6e2c3b245cfa2032a7373e2c",
        ),
    }


def test_upstream_figures_stand_with_their_reservation():
    for entry in load_manifest().checkpoints.values():
        assert len(entry.figures) == 24
        assert "36 of 70 ROxford and 38 of 70 RParis" in entry.figures_note


def test_figures_that_follow_the_protocol_stand_first():
    """A query is cropped to its box; of the README's rows only some are of such queries."""
    published = {
        "dolg_resnet50_gldv2": [81.20, 62.55, 90.07, 79.20],
        "dolg_resnet101_gldv2": [82.37, 64.93, 90.97, 81.71],
    }
    datasets = ["ROxford medium", "ROxford hard", "RParis medium", "RParis hard"]
    for name, values in published.items():
        first = load_manifest().checkpoints[name].figures[:4]
        assert [figure.value for figure in first] == values
        assert [figure.dataset for figure in first] == datasets
        assert {figure.source for figure in first} == {"feymanpriv/DOLG README, query cropped"}


def test_what_is_pinned_is_hashes_and_full_commits():
    pins = []
    for entry in load_manifest().entries.values():
        assert entry.source is None or re.fullmatch("[0-9a-f]{40}", entry.source.revision)
        pins += getattr(entry, "files", {}).values() or [entry.file]
    assert pins
    assert all(re.fullmatch("[0-9a-f]{64}", pin.sha256) and pin.size > 0 for pin in pins)


def test_each_entry_is_found_by_the_tag_of_a_constructor():
    from dolg_zoo.presets import preset_tags

    for name, entry in load_manifest().entries.items():
        tag = name.removeprefix(f"dolg_{entry.architecture}_")
        assert entry.architecture in BACKBONES
        assert tag in preset_tags(entry.architecture) and tag != name
        with pytest.raises(ValueError, match=re.escape(repr(tag))):
            getattr(dolg_zoo, f"dolg_{entry.architecture}")(pretrained="no_such_tag")


def test_descriptors_are_as_long_as_it_says(shared):
    """Of the embedded preset by its config.json, of the upstream's by the golden outputs."""
    entries = load_manifest().entries
    embedded = entries["dolg_efficientnet_lite_b0_imagenet"]
    folder = Path(dolg_zoo.__file__).parent / "presets" / "embedded" / embedded.name
    config = json.loads((folder / "config.json").read_text())
    assert embedded.descriptor_dim == config["dolg"]["descriptor_dim"]
    golden = json.loads((shared / "golden" / "official_pytorch.json").read_text())
    for name, model in (("dolg_resnet50_gldv2", "r50"), ("dolg_resnet101_gldv2", "r101")):
        assert entries[name].descriptor_dim == len(golden[model]["224x224"]["descriptor"])


def test_the_embedded_preset_is_listed():
    assert load_manifest().presets["dolg_efficientnet_lite_b0_imagenet"].source is None


def test_an_installed_package_reads_the_manifest_that_lies_inside_it(tmp_path):
    package = Path(dolg_zoo.__file__).parent
    copied = tmp_path / "dolg_zoo"
    for part in ("_util", "checkpoints", "weights"):
        shutil.copytree(package / part, copied / part)
    shutil.copy(package / "errors.py", copied)
    (copied / "__init__.py").touch()
    (copied / "weights_manifest.json").write_text(json.dumps(WELL_FORMED), encoding="utf-8")
    script = "from dolg_zoo.weights import load_manifest; print(*load_manifest().presets)"
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["small_imagenet"]


def test_importing_the_package_imports_neither_keras_nor_the_hub_client():
    script = (
        "import sys, dolg_zoo.weights as weights; weights.load_manifest();"
        "print({'keras', 'tensorflow', 'huggingface_hub'} & sys.modules.keys())"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(dolg_zoo.__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == "set()"

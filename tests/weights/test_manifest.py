import copy
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from _manifest_schema import SCHEMA, read_checked
from jsonschema import Draft202012Validator
from packaging.licenses import canonicalize_license_expression
from small_manifest import COMMIT, FILE, PRESET_FILES, REMOVED, SHA256, WELL_FORMED, altered, write

import dolg_zoo
from dolg_zoo import BACKBONES
from dolg_zoo.weights import ManifestError, RemoteFile, load_manifest

ROOT = Path(__file__).resolve().parents[2]


def load(tmp_path, content):
    return load_manifest(write(tmp_path, content))


def test_entries_state_their_files_with_their_pins(tmp_path):
    content = altered("presets/small_imagenet/files/margin_head.npz", FILE)
    entries = load(tmp_path, content).entries
    assert list(entries) == ["big_gldv2", "small_imagenet"]
    checkpoint, preset = entries.values()
    assert checkpoint.file == RemoteFile("user/repo", COMMIT, "big.pt", 7, SHA256)
    assert (checkpoint.format, checkpoint.size) == ("official_pytorch", 7)
    assert preset.remote_files == tuple(
        RemoteFile("user/repo", COMMIT, name, 7, SHA256)
        for name in (*PRESET_FILES, "margin_head.npz")
    )
    assert (preset.figures[0].value, preset.size) == (81.2, 5 * 7)


def test_an_embedded_preset_has_nothing_to_fetch(tmp_path):
    content = altered("presets/small_imagenet/source", "embedded")
    preset = load(tmp_path, content).presets["small_imagenet"]
    assert preset.source is None
    assert preset.remote_files == ()
    assert list(preset.files) == PRESET_FILES


PRESET, CHECKPOINT = "presets/small_imagenet/", "checkpoints/big_gldv2/"


@pytest.mark.parametrize(
    ("place", "value", "words", "of_readers"),
    [
        # maintainers' check by the schema says all of it, users' reading what it cannot go on with
        ("format_version", 2, ["2"], "the format_version 2, but this dolg-zoo reads 1"),
        ("format_version", REMOVED, ["format_version"], "format_version None"),
        ("extra", 1, ["unknown field 'extra'"], None),
        ("presets", [], ["presets", "[]"], r"presets must be an object, got '\[\]'"),
        ("checkpoints", REMOVED, ["checkpoints"], "checkpoints must be an object"),
        ("presets/small_imagenet", 5, ["small_imagenet", "5"], "small_imagenet is malformed"),
        ("presets/Small", {}, ["'Small'"], "Small is malformed"),
        (PRESET + "licence", "MIT", ["unknown field 'licence'"], "malformed: .*licence"),
        (PRESET + "license", REMOVED, ["lacks the field 'license'"], "malformed: .*license"),
        (PRESET + "license", "mit", ["license", "'mit'", "'MIT'"], None),
        (PRESET + "license", "MIT, mostly", ["license", "'MIT, mostly'", "SPDX"], None),
        (PRESET + "license", "(" * 199 + "MIT", ["license", "((((", "SPDX"], None),
        (PRESET + "license", "MIT " + "OR MIT " * 999, ["license", "200 characters"], None),
        (PRESET + "descriptor_dim", 0, ["descriptor_dim", "0"], None),
        (PRESET + "dataset", "", ["dataset", "''"], None),
        (PRESET + "architecture", 5, ["architecture", "5"], None),
        (PRESET + "source", "elsewhere", ["source", "'elsewhere'"], "malformed"),
        (PRESET + "source", 5, ["source", "5", "embedded"], "malformed"),
        (PRESET + "source/repo", "../etc", ["repo", "'../etc'"], None),
        (PRESET + "source/revision", "main", ["revision", "'main'"], None),
        (PRESET + "files", [], ["files", "[]"], "malformed"),
        (PRESET + "files", {"../evil": FILE}, ["files", "'../evil'"], None),
        (PRESET + "files/run.py", FILE, ["files", "'run.py'"], None),
        (PRESET + "files/config.json", REMOVED, ["files", "'config.json'"], None),
        (PRESET + "files/config.json", SHA256, ["config.json", SHA256], "malformed"),
        (PRESET + "figures", 5, ["figures", "5"], "malformed"),
        (PRESET + "figures/0/value", "x", ["figures[0]", "value", "'x'"], "malformed"),
        (PRESET + "figures/0/value", float("nan"), ["figures[0]", "value", "nan"], None),
        (PRESET + "figures/0/value", 10**400, ["figures[0]", "value", "finite"], "malformed"),
        (PRESET + "figures/0/value", True, ["figures[0]", "value", "True"], None),
        (PRESET + "figures/0/what", "mAP", ["figures[0]", "unknown field 'what'"], "malformed"),
        (CHECKPOINT + "revision", "C" * 40, ["revision", "C" * 40], None),
        (CHECKPOINT + "sha256", REMOVED, ["sha256"], "malformed: .*sha256"),
        (CHECKPOINT + "sha256", "g" * 64, ["sha256", "g" * 64], None),
        (CHECKPOINT + "sha256", SHA256 + "\n", ["sha256"], None),
        (CHECKPOINT + "size", 0, ["size", "0"], None),
        (CHECKPOINT + "size", 7.0, ["size", "7.0"], None),
        (CHECKPOINT + "size", True, ["size", "True"], None),
        (CHECKPOINT + "format", "pickle", ["format", "'pickle'"], None),
        (CHECKPOINT + "file", "a/b.pt", ["file", "'a/b.pt'"], None),
        (CHECKPOINT + "file", "a\\b.pt", ["file", "a\\\\b.pt"], None),
        (CHECKPOINT + "file", "b.exe", ["file", "'b.exe'", ".pyth"], None),
        (CHECKPOINT + "file", "b.pdparams", ["file", "'b.pdparams'", ".pt"], None),
    ],
)
def test_a_malformed_field_is_refused_by_entry_field_and_value(
    tmp_path, place, value, words, of_readers
):
    path = write(tmp_path, altered(place, value))
    with pytest.raises(ManifestError) as caught:
        read_checked(path)
    entry = place.split("/")[1:-1]
    for word in [*entry[:1], *words]:
        assert word in str(caught.value)
    if of_readers:
        with pytest.raises(ManifestError, match=rf"manifest\.json.*{of_readers}"):
            load_manifest(path)


@pytest.mark.parametrize(
    "content", [b"{", b"\xff", b"[]", b"", b"[" * 10**5, b" " * 2**25, b"9" * 9999, None]
)
def test_what_is_no_manifest_is_refused_by_its_path(tmp_path, content):
    path = tmp_path / "manifest.json" if content is None else write(tmp_path, content)
    for read in (read_checked, load_manifest):
        with pytest.raises(ManifestError, match=r"manifest\.json"):
            read(path)


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


def test_figures_that_follow_the_protocol_stand_first():
    """A query is cropped to its box; of the README's rows only some are of such queries."""
    published = {
        "dolg_resnet50_gldv2": [81.20, 62.55, 90.07, 79.20],
        "dolg_resnet101_gldv2": [82.37, 64.93, 90.97, 81.71],
    }
    datasets = ["ROxford medium", "ROxford hard", "RParis medium", "RParis hard"]
    for name, values in published.items():
        entry = load_manifest().checkpoints[name]
        assert len(entry.figures) == 24
        assert "36 of 70 ROxford and 38 of 70 RParis" in entry.figures_note
        first = entry.figures[:4]
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


# maintainers' check by the schema


def check(tmp_path, content):
    return read_checked(write(tmp_path, content))


def test_a_name_is_not_given_twice(tmp_path):
    content = copy.deepcopy(WELL_FORMED)
    content["checkpoints"]["small_imagenet"] = content["checkpoints"].pop("big_gldv2")
    with pytest.raises(ManifestError, match="'small_imagenet' is both"):
        check(tmp_path, content)


def test_a_manifest_may_name_its_schema(tmp_path):
    content = {"$schema": "a/file.json", **WELL_FORMED}
    assert check(tmp_path, content)["presets"] and load(tmp_path, content).presets


def test_a_field_that_stands_twice_is_refused(tmp_path):
    with pytest.raises(ManifestError, match="'format_version' stands twice"):
        check(tmp_path, b'{"format_version": 1, "format_version": 1}')


@pytest.mark.parametrize("depth", [100, 800])
def test_a_deep_value_is_refused_by_the_manifests_path(tmp_path, depth):
    value = b"[" * depth + b"]" * depth
    with pytest.raises(ManifestError, match=r"manifest\.json") as caught:
        check(tmp_path, b'{"format_version": 1, "presets": {"a": %b}, "checkpoints": {}}' % value)
    assert len(str(caught.value)) < 600


def test_a_long_value_is_not_said_in_full(tmp_path):
    with pytest.raises(ManifestError, match="sha256") as caught:
        check(tmp_path, altered("checkpoints/big_gldv2/sha256", "5" * 10**6))
    assert len(str(caught.value)) < 600


@pytest.fixture(scope="module")
def shipped():
    """The manifest as JSON."""
    return json.loads((ROOT / "weights_manifest.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def schema():
    return json.loads(SCHEMA.read_text(encoding="utf-8"))


def test_the_shipped_manifest_is_valid_by_its_schema(shipped, schema):
    assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    Draft202012Validator.check_schema(schema)
    assert read_checked(ROOT / "weights_manifest.json") == shipped
    assert list(Draft202012Validator(schema).iter_errors(shipped)) == []
    assert (ROOT / shipped["$schema"]).samefile(SCHEMA)


def test_each_demand_of_the_schema_says_what_a_value_must_be(schema):
    """The messages of `read_checked` are made of it."""
    from dolg_zoo.checkpoints.porting import LAYOUTS

    assert set(schema["$defs"]["checkpoint"]["properties"]["format"]["enum"]) == set(LAYOUTS)

    def demands(place):
        if isinstance(place, list):
            for item in place:
                yield from demands(item)
        elif isinstance(place, dict):
            if {"type", "const", "enum", "pattern"} & {k for k, v in place.items() if k != "if"}:
                yield place
            for key, item in place.items():
                if key != "if":
                    yield from demands(item)

    found = [place for place in demands(schema) if isinstance(place.get("type"), (str, type(None)))]
    assert len(found) > 20
    assert all(place.get("description") for place in found)


def test_licences_are_spdx_expressions(shipped):
    for entry in [*shipped["presets"].values(), *shipped["checkpoints"].values()]:
        assert canonicalize_license_expression(entry["license"]) == entry["license"]

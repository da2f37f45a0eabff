"""The schema of the manifest, with which maintainers check what they write."""

import copy
import json
from pathlib import Path

import pytest
from _manifest_schema import SCHEMA, read_checked
from jsonschema import Draft202012Validator
from packaging.licenses import canonicalize_license_expression
from small_manifest import COMMIT, FILE, REMOVED, SHA256, WELL_FORMED, altered, write

from dolg_zoo.checkpoints.porting import LAYOUTS
from dolg_zoo.weights import ManifestError, load_manifest

ROOT = Path(__file__).resolve().parents[2]


def load(tmp_path, content):
    return read_checked(write(tmp_path, content))


def test_a_name_is_not_given_twice(tmp_path):
    content = copy.deepcopy(WELL_FORMED)
    content["checkpoints"]["small_imagenet"] = content["checkpoints"].pop("big_gldv2")
    with pytest.raises(ManifestError, match="'small_imagenet' is both"):
        load(tmp_path, content)


def test_the_formats_are_those_that_can_be_ported():
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    assert set(schema["$defs"]["checkpoint"]["properties"]["format"]["enum"]) == set(LAYOUTS)


def test_a_manifest_may_name_its_schema(tmp_path):
    assert load(tmp_path, {"$schema": "a/file.json", **WELL_FORMED})["presets"]


PRESET, CHECKPOINT = "presets/small_imagenet/", "checkpoints/big_gldv2/"


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("format_version", 2, ["format_version", "2"]),
        ("extra", 1, ["unknown field 'extra'"]),
        ("presets", [], ["presets", "[]"]),
        ("presets/Small", {}, ["'Small'"]),
        ("presets/..", {}, ["'..'"]),
        (PRESET + "licence", "MIT", ["small_imagenet", "unknown field 'licence'"]),
        (PRESET + "license", REMOVED, ["small_imagenet", "lacks the field 'license'"]),
        (PRESET + "license", "mit", ["small_imagenet", "license", "'mit'", "'MIT'"]),
        (PRESET + "license", " ", ["small_imagenet", "license", "' '"]),
        (PRESET + "license", "MIT, mostly", ["small_imagenet", "license", "'MIT, mostly'", "SPDX"]),
        (PRESET + "license", "(" * 199 + "MIT", ["license", "((((", "SPDX"]),
        (PRESET + "license", "MIT " + "OR MIT " * 999, ["license", "200 characters"]),
        (PRESET + "descriptor_dim", 0, ["small_imagenet", "descriptor_dim", "0"]),
        (PRESET + "dataset", "", ["small_imagenet", "dataset", "''"]),
        (PRESET + "license_note", REMOVED, ["lacks the field 'license_note'"]),
        (PRESET + "architecture", 5, ["small_imagenet", "architecture", "5"]),
        (PRESET + "source", "elsewhere", ["small_imagenet", "source", "'elsewhere'"]),
        (PRESET + "source", 5, ["small_imagenet", "source", "5", "embedded"]),
        (PRESET + "source/repo", "repo", ["small_imagenet", "repo", "'repo'"]),
        (PRESET + "source/repo", "../etc", ["small_imagenet", "repo", "'../etc'"]),
        (PRESET + "source/revision", "main", ["small_imagenet", "revision", "'main'"]),
        (PRESET + "files", {}, ["small_imagenet", "files", "'config.json'"]),
        (PRESET + "files", [], ["small_imagenet", "files", "[]"]),
        (PRESET + "files", {"../evil": FILE}, ["small_imagenet", "files", "'../evil'"]),
        (PRESET + "files/run.py", FILE, ["small_imagenet", "files", "'run.py'"]),
        (PRESET + "files/config.json", REMOVED, ["small_imagenet", "files", "'config.json'"]),
        (PRESET + "files/config.json", SHA256, ["small_imagenet", "config.json", SHA256]),
        (PRESET + "figures", {}, ["small_imagenet", "figures", "{}"]),
        (PRESET + "figures/0/value", "81", ["small_imagenet", "figures[0]", "value", "'81'"]),
        (PRESET + "figures/0/value", float("nan"), ["figures[0]", "value", "nan"]),
        (PRESET + "figures/0/value", float("inf"), ["figures[0]", "value", "inf"]),
        (PRESET + "figures/0/value", 10**400, ["figures[0]", "value", "finite"]),
        (PRESET + "figures/0/value", True, ["figures[0]", "value", "True"]),
        (PRESET + "figures/0/metric", REMOVED, ["figures[0]", "lacks the field 'metric'"]),
        (PRESET + "figures/0/what", "mAP", ["figures[0]", "unknown field 'what'"]),
        (PRESET + "figures/0/source", "", ["small_imagenet", "figures[0]", "source", "''"]),
        (PRESET + "figures_note", None, ["small_imagenet", "figures_note", "None"]),
        (CHECKPOINT + "revision", "C" * 40, ["big_gldv2", "revision", "C" * 40]),
        (CHECKPOINT + "revision", COMMIT[1:], ["big_gldv2", "revision", COMMIT[1:]]),
        (CHECKPOINT + "sha256", "g" * 64, ["big_gldv2", "sha256", "g" * 64]),
        (CHECKPOINT + "sha256", SHA256 + "\n", ["big_gldv2", "sha256"]),
        (CHECKPOINT + "sha256", "5" * 99, ["big_gldv2", "sha256", "5" * 99]),
        (CHECKPOINT + "size", 0, ["big_gldv2", "size", "0"]),
        (CHECKPOINT + "size", -1, ["big_gldv2", "size", "-1"]),
        (CHECKPOINT + "size", 7.0, ["big_gldv2", "size", "7.0"]),
        (CHECKPOINT + "size", True, ["big_gldv2", "size", "True"]),
        (CHECKPOINT + "size", "7", ["big_gldv2", "size", "'7'"]),
        (CHECKPOINT + "format", "pickle", ["big_gldv2", "format", "'pickle'"]),
        (CHECKPOINT + "file", "a/b.pt", ["big_gldv2", "file", "'a/b.pt'"]),
        (CHECKPOINT + "file", "a\\b.pt", ["big_gldv2", "file", "a\\\\b.pt"]),
        (CHECKPOINT + "file", "..", ["big_gldv2", "file", "'..'"]),
        (CHECKPOINT + "file", "../b.pt", ["big_gldv2", "file", "'../b.pt'"]),
        (CHECKPOINT + "file", "/b.pt", ["big_gldv2", "file", "'/b.pt'"]),
        (CHECKPOINT + "file", "b.exe", ["big_gldv2", "file", "'b.exe'", ".pyth"]),
        (CHECKPOINT + "file", "b.pdparams", ["big_gldv2", "file", "'b.pdparams'", ".pt"]),
        (CHECKPOINT + "file", "bpt", ["big_gldv2", "file", "'bpt'", ".pt"]),
    ],
)
def test_a_malformed_field_is_refused_by_entry_field_and_value(tmp_path, place, value, words):
    content = altered(place, value)
    with pytest.raises(ManifestError) as caught:
        load(tmp_path, content)
    for word in words:
        assert word in str(caught.value)


def test_a_field_that_stands_twice_is_refused(tmp_path):
    with pytest.raises(ManifestError, match="'format_version' stands twice"):
        load(tmp_path, b'{"format_version": 1, "format_version": 1}')


readers = pytest.mark.parametrize("read", [read_checked, load_manifest])


@readers
@pytest.mark.parametrize(
    "content", [b"{", b"\xff", b"[]", b"", b"[" * 10**5, b" " * 2**25, b"9" * 9999]
)
def test_what_is_no_manifest_is_refused_by_its_path(tmp_path, read, content):
    with pytest.raises(ManifestError, match=r"manifest\.json"):
        read(write(tmp_path, content))


@pytest.mark.parametrize("depth", [100, 400, 800])
def test_a_deep_value_is_refused_by_the_manifests_path(tmp_path, depth):
    value = b"[" * depth + b"]" * depth
    with pytest.raises(ManifestError, match=r"manifest\.json") as caught:
        load(tmp_path, b'{"format_version": 1, "presets": {"a": %b}, "checkpoints": {}}' % value)
    assert len(str(caught.value)) < 600


def test_a_long_value_is_not_said_in_full(tmp_path):
    with pytest.raises(ManifestError, match="sha256") as caught:
        load(tmp_path, altered("checkpoints/big_gldv2/sha256", "5" * 10**6))
    assert len(str(caught.value)) < 600


@readers
def test_a_missing_manifest_is_refused_by_its_path(tmp_path, read):
    with pytest.raises(ManifestError, match=r"absent\.json"):
        read(tmp_path / "absent.json")


@pytest.fixture(scope="module")
def shipped():
    """The manifest as JSON."""
    return json.loads((ROOT / "weights_manifest.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def schema():
    return json.loads(SCHEMA.read_text(encoding="utf-8"))


def test_the_schema_is_one(schema):
    assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    Draft202012Validator.check_schema(schema)


def test_the_shipped_manifest_is_valid_by_its_schema(shipped, schema):
    assert read_checked(ROOT / "weights_manifest.json") == shipped
    assert list(Draft202012Validator(schema).iter_errors(shipped)) == []
    assert (ROOT / shipped["$schema"]).samefile(SCHEMA)


def test_each_demand_of_the_schema_says_what_a_value_must_be(schema):
    """The messages of `read_checked` are made of it."""

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

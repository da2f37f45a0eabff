import json
import shutil
from pathlib import Path

import pytest
from preset_files import flip_a_byte

import dolg_zoo
from dolg_zoo import presets
from dolg_zoo.backbones.imagenet_sources import SHIPPED
from dolg_zoo.presets import (
    DEFAULT_PRESET,
    PresetError,
    origins,
    preset_names,
    registry,
    resolve_preset,
)
from dolg_zoo.weights import load_manifest


def test_the_default_ships_with_the_package():
    located = resolve_preset()
    assert located.name == DEFAULT_PRESET
    assert located.folder.parent.name == "embedded"


def test_a_folder_is_taken_as_it_is_and_that_of_a_training_run_for_its_preset(tmp_path):
    (tmp_path / "preset").mkdir()
    assert resolve_preset(tmp_path).folder == tmp_path  # which is then said to be none
    (tmp_path / "preset" / "config.json").touch()
    assert resolve_preset(tmp_path).folder == tmp_path / "preset"
    (tmp_path / "config.json").touch()
    assert resolve_preset(tmp_path).folder == resolve_preset(str(tmp_path)).folder == tmp_path


def test_a_folder_may_be_below_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    resolved = resolve_preset(f"~/{tmp_path.name}")
    assert (resolved.folder, resolved.name) == (tmp_path, str(tmp_path))
    assert resolve_preset(resolved) is resolved


def test_a_preset_is_resolved_once_from_its_name_to_its_compiled_form(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setenv("DOLG_ZOO_CACHE", str(tmp_path / "cache"))
    find_preset, resolved = registry.find_preset, []
    monkeypatch.setattr(
        registry, "find_preset", lambda preset: (resolved.append(preset), find_preset(preset))[1]
    )
    compiled = dolg_zoo.embedder(folder, "litert")
    assert resolved == [folder]
    assert dolg_zoo.CompiledDOLG.cached(folder, "litert").model_id == compiled.model_id


def test_lists_the_names_and_suggests_the_nearest():
    with pytest.raises(PresetError) as caught:
        resolve_preset("dolg_efficientnet_lite_places_products")
    assert f"Did you mean '{DEFAULT_PRESET}'" in str(caught.value)
    assert "hf://user/repo" in str(caught.value)


def test_names_are_listed_by_pattern():
    assert dolg_zoo.list_presets("*resnet*") == ["dolg_resnet101_gldv2", "dolg_resnet50_gldv2"]
    assert dolg_zoo.list_presets("*r50*") == [] and dolg_zoo.list_presets() == preset_names()


def test_a_file_is_no_preset(tmp_path):
    (tmp_path / "model.pyth").write_bytes(b"x")
    with pytest.raises(PresetError, match=r"is a file.*tools/convert_"):
        resolve_preset(tmp_path / "model.pyth")


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5"])
def test_a_changed_file_of_the_package_is_found_out(tmp_path, monkeypatch, name):
    shutil.copytree(origins.EMBEDDED, tmp_path / "embedded")
    monkeypatch.setattr(origins, "EMBEDDED", tmp_path / "embedded")
    assert resolve_preset().folder.is_dir()
    flip_a_byte(tmp_path / "embedded" / DEFAULT_PRESET / name)
    with pytest.raises(PresetError, match="reinstall"):
        resolve_preset()


def test_every_embedded_preset_is_pinned_and_together_they_fit_into_a_wheel_of_25_megabytes():
    embedded = {n: e for n, e in load_manifest().presets.items() if e.source is None}
    assert {folder.name for folder in origins.EMBEDDED.iterdir()} == embedded.keys()
    assert {entry.architecture for entry in embedded.values()} == SHIPPED
    for name, entry in embedded.items():
        assert {path.name for path in (origins.EMBEDDED / name).iterdir()} == set(entry.files)
    assert max(entry.size for entry in embedded.values()) <= 12_000_000
    assert sum(entry.size for entry in embedded.values()) <= 22_000_000


def test_tags_are_those_of_a_backbone():
    assert presets.preset_tags("efficientnet_lite_b0") == ["imagenet", "places_products"]
    assert presets.preset_tags("resnet50") == presets.preset_tags("resnet101") == ["gldv2"]


@pytest.mark.parametrize(
    ("preset", "trained_on"),
    [
        (DEFAULT_PRESET, "6,581 labelled photographs of 499 classes"),
        ("dolg_efficientnet_lite_b0_imagenet", "no label"),
    ],
)
def test_the_embedded_card_says_what_it_was_trained_on(preset, trained_on):
    metadata = json.loads((resolve_preset(preset).folder / "metadata.json").read_text())
    assert trained_on in metadata["provenance"]
    assert "multiples of 32" in metadata["limits"]
    assert metadata["license"] == "Apache-2.0"


def test_no_folder_goes_by_the_name_of_a_preset_of_the_zoo(tmp_path, monkeypatch):
    (tmp_path / DEFAULT_PRESET).mkdir()
    monkeypatch.chdir(tmp_path)
    located = resolve_preset(Path(DEFAULT_PRESET))
    assert located.folder.samefile(tmp_path / DEFAULT_PRESET)
    assert located.name not in preset_names()
    assert resolve_preset(located.name).folder.samefile(located.folder)

import json
import shutil

import h5py
import numpy as np
import pytest
from small_run import tiny_model

from dolg_zoo import DOLG
from dolg_zoo.presets import resolve_preset
from dolg_zoo.weights import load_manifest


@pytest.fixture(scope="module")
def tool(load_tool):
    return load_tool("_packing")


def test_compact_halves_kernels_and_keeps_vectors(tool, tmp_path, rng):
    kernel = rng.standard_normal((4, 3)).astype(np.float16).astype("float32")
    vector = rng.standard_normal(3).astype("float32")
    with h5py.File(tmp_path / "whole.h5", "w") as file:
        file["layers/a/vars/0"], file["layers/a/vars/1"] = kernel, vector
    tool.compact(tmp_path / "whole.h5", tmp_path / "small.h5")
    with h5py.File(tmp_path / "small.h5") as file:
        assert file["layers/a/vars/0"].dtype == np.float16
        assert np.array_equal(file["layers/a/vars/0"], kernel)
        assert np.array_equal(file["layers/a/vars/1"], vector)


def test_a_packed_preset_is_the_rounded_one(tool, tmp_path, rng):
    model = tiny_model()
    images = rng.uniform(0, 255, (3, 32, 32, 3)).astype("uint8")
    before = model.embed(images)
    tool.round_kernels(model.net)
    tool.write_packed(model.net, model.image_converter, {"name": "small"}, tmp_path / "packed")
    packed = DOLG.from_preset(tmp_path / "packed")
    np.testing.assert_array_equal(packed.embed(images), model.embed(images))
    # float16 keeps 11 bits: a rounding of 2 ** -12 in each of a few layers
    assert 0 < np.abs(packed.embed(images) - before).max() < 5e-3


def test_weights_that_float16_cannot_hold_are_not_packed(tool, tmp_path):
    model = tiny_model()
    with pytest.raises(AssertionError, match="kernel"):
        tool.write_packed(model.net, model.image_converter, {"name": "small"}, tmp_path / "packed")


STATED = {"description": "Small.", "dataset": "none", "license": "MIT", "license_note": ""}


def test_a_preset_without_an_entry_gets_one_and_an_entry_keeps_what_it_says(tool, tmp_path):
    folder, manifest = tmp_path / "packed", tmp_path / "manifest.json"
    manifest.write_text('{"format_version": 1, "presets": {}, "checkpoints": {}}')
    shipped = resolve_preset()
    shutil.copytree(shipped.folder, folder)
    tool.pin_folder(manifest, shipped.name, folder, STATED)
    found = json.loads(manifest.read_text())["presets"][shipped.name]
    pinned = load_manifest().presets[shipped.name]
    assert found["description"] == "Small." and found["license"] == "MIT"
    assert (found["architecture"], found["descriptor_dim"]) == ("efficientnet_lite_b0", 512)
    assert {name: file["sha256"] for name, file in found["files"].items()} == {
        name: file.sha256 for name, file in pinned.files.items()
    }

    (folder / "config.json").write_bytes((folder / "config.json").read_bytes() + b"\n")
    tool.pin_folder(manifest, shipped.name, folder, STATED | {"description": "Other."})
    again = json.loads(manifest.read_text())["presets"][shipped.name]
    assert again["description"] == "Small."
    assert again["files"]["config.json"] != found["files"]["config.json"]

import h5py
import numpy as np
import pytest
from small_run import tiny_model

from dolg_zoo import DOLG


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

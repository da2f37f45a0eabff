import shutil
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from dolg_zoo.presets import read_preset
from dolg_zoo.presets.weights_file import load_weights


@pytest.fixture
def net(written):
    return read_preset(written).net  # whose layers are called as in the file


@pytest.fixture
def path(written, tmp_path):
    return Path(shutil.copy(written / "model.weights.h5", tmp_path))


def without_names(_, item):
    item.attrs.pop("name", None)


def a_name_twice(_, item):
    if "name" in item.attrs:
        item.attrs["name"] = "twice"


@pytest.mark.parametrize("change", [None, without_names, a_name_twice])
def test_finds_the_tensors_that_keras_finds_and_asks_it_where_names_do_not_tell(
    net, path, monkeypatch, change
):
    load, calls = keras.Model.load_weights, []
    load(net, path)
    expected = net.get_weights()
    for weight in net.weights:
        weight.assign(weight + 1)
    if change:
        with h5py.File(path, "r+") as file:
            file.visititems(change)
    monkeypatch.setattr(
        keras.Model, "load_weights", lambda self, path: (calls.append(path), load(self, path))
    )
    load_weights(net, path)
    assert all(np.array_equal(a, b) for a, b in zip(net.weights, expected, strict=True))
    assert len(calls) == bool(change)

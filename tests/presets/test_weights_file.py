import json
import shutil
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from dolg_zoo.models import DOLGConfig, DOLGNet
from dolg_zoo.presets import read_preset, resolve_preset
from dolg_zoo.presets.weights_file import load_weights


@pytest.fixture(scope="module")
def embedded_net():
    """The network of the preset that ships, with other weights."""
    config = json.loads((resolve_preset().folder / "config.json").read_text())["dolg"]
    return DOLGNet(config=DOLGConfig.from_dict(config))


@pytest.fixture(params=["small"])
def kind(request):
    return request.param


@pytest.fixture
def net(kind, written, request):
    if kind == "embedded":
        return request.getfixturevalue("embedded_net")
    return read_preset(written).net  # whose layers are called as in the file


@pytest.fixture
def path(kind, written, tmp_path):
    folder = resolve_preset().folder if kind == "embedded" else written
    return Path(shutil.copy(folder / "model.weights.h5", tmp_path))


@pytest.fixture
def as_keras_loads_it(net, path):
    keras.Model.load_weights(net, path)
    values = net.get_weights()
    for weight in net.weights:
        weight.assign(weight + 1)
    return values


@pytest.fixture
def keras_loads(monkeypatch):
    """Counts how often Keras's own loader is asked."""
    calls, load = [], keras.Model.load_weights
    monkeypatch.setattr(
        keras.Model, "load_weights", lambda self, path: (calls.append(path), load(self, path))
    )
    return calls


def equal(net, values):
    return all(np.array_equal(a, b) for a, b in zip(net.weights, values, strict=True))


@pytest.mark.parametrize("kind", ["small", "embedded"], indirect=True)
def test_finds_the_tensors_by_name_as_keras_finds_them(net, path, as_keras_loads_it, keras_loads):
    load_weights(net, path)
    assert equal(net, as_keras_loads_it) and not keras_loads


@pytest.mark.parametrize("change", ["without names", "a name twice"])
def test_leaves_it_to_keras_where_names_do_not_tell(
    net, path, as_keras_loads_it, keras_loads, change
):
    def edit(_, item):
        if "name" in item.attrs and change == "without names":
            del item.attrs["name"]
        elif "name" in item.attrs:
            item.attrs["name"] = "twice"

    with h5py.File(path, "r+") as file:
        file.visititems(edit)
    load_weights(net, path)
    assert equal(net, as_keras_loads_it) and len(keras_loads) == 1

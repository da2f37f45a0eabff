import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from dolg_zoo.models import DOLGConfig, DOLGNet
from dolg_zoo.preprocessing import ImageConverter
from dolg_zoo.presets import Preset, write_preset

SMALL = {"hidden_dim": 8, "descriptor_dim": 6, "dilation_rates": ()}


def small_net():
    images = keras.Input((None, None, 3))
    local = layers.Conv2D(5, 3, strides=4, padding="same", activation="relu")(images)
    global_ = layers.Conv2D(7, 3, strides=2, padding="same", activation="relu")(local)
    backbone = keras.Model(images, [local, layers.Dropout(0.5)(global_)])
    return DOLGNet(backbone, config=DOLGConfig(**SMALL, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2)))


@pytest.fixture(scope="session")
def new_preset():
    """Makes a small preset, the same each time."""
    return drawn_preset


@pytest.fixture
def preset(new_preset):
    """One for a test to change."""
    return new_preset()


def drawn_preset():
    keras.utils.set_random_seed(1)
    net = small_net()
    rng = np.random.default_rng(0)
    for weight in net.weights:
        positive = weight.path.endswith(("variance", "gamma", "/p"))
        draw = rng.uniform(0.5, 3, weight.shape) if positive else rng.normal(size=weight.shape)
        weight.assign(draw)
    return Preset(net, ImageConverter(size=32), {"name": "small", "license": "CC0-1.0"})


@pytest.fixture(scope="session")
def written(new_preset, tmp_path_factory):
    """The folder of such a preset, for tests to copy."""
    folder = tmp_path_factory.mktemp("written") / "preset"
    write_preset(folder, new_preset())
    return folder


@pytest.fixture
def folder(written, tmp_path):
    return Path(shutil.copytree(written, tmp_path / "preset"))

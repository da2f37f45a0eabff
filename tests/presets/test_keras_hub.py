"""Presets whose backbone is one of keras-hub; skipped where keras-hub is not installed."""

import functools
import importlib
import shutil
import sys
from subprocess import run

import keras
import numpy as np
import pytest
from keras_hub_backbones import small_backbone
from preset_files import edit

from dolg_zoo.backbones import two_taps
from dolg_zoo.models import DOLGConfig, DOLGNet
from dolg_zoo.preprocessing import ImageConverter
from dolg_zoo.presets import Preset, PresetError, own_backbone, read_preset, write_preset

pytest.importorskip("keras_hub", reason="keras-hub is not installed")

CONFIG = DOLGConfig(
    hidden_dim=8, descriptor_dim=4, dilation_rates=(), mean=(0.5,) * 3, std=(0.25,) * 3
)


def net_over(kind):
    return DOLGNet(two_taps(small_backbone(kind)), config=CONFIG)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Gives the folder of a preset over a kind of backbone, for tests to copy."""

    @functools.cache
    def write(kind):
        folder = tmp_path_factory.mktemp("written") / "preset"
        write_preset(folder, Preset(net_over(kind), ImageConverter(size=64), {}))
        return folder

    return write


@pytest.fixture
def changed(written, tmp_path):
    """Copies a preset, with another description of the first layer of a class."""

    def change(kind, layer_class, **settings):
        def change_layer(values):
            layers = values["backbone"]["config"]["layers"]
            layer = next(layer for layer in layers if layer["class_name"] == layer_class)
            layer["config"].update(settings.pop("config", {}))
            layer.update(settings)

        folder = shutil.copytree(written(kind), tmp_path / "preset")
        edit(folder, "config.json", change_layer)
        return folder

    return change


@pytest.mark.parametrize(
    "kind",
    [
        "ResNetBackbone V2",
        "DenseNetBackbone",
        "RetinaNetBackbone",
        *(
            pytest.param(kind, marks=pytest.mark.slow)
            for kind in (
                "CSPNetBackbone",
                "EfficientNetBackbone",
                "HGNetV2Backbone",
                "MiTBackbone",
                "MobileNetBackbone",
                "ResNetBackbone",
                "ResNetBackbone bottleneck_vd",
                "VGGBackbone",
                "XceptionBackbone",
            )
        ),
    ],
)
def test_a_preset_is_read_as_it_was_saved(kind, tmp_path, rng):
    net = net_over(kind)
    size = 96 if kind == "XceptionBackbone" else 64
    images = rng.integers(0, 256, (2, size, size, 3), dtype="uint8")
    expected = np.asarray(net(images))
    write_preset(tmp_path, Preset(net, ImageConverter(size=size), {}))

    loaded = read_preset(tmp_path).net

    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(loaded(images), expected, atol=1e-6)
    layers = [layer.name for layer in net.backbone.layers]
    assert [layer.name for layer in loaded.backbone.layers] == layers


def test_half_the_bits_reach_the_layers_within_layers(written):
    net = read_preset(written("EfficientNetBackbone"), dtype="mixed_bfloat16").net

    policies = {
        layer.dtype_policy.name
        for layer in net.backbone._flatten_layers(include_self=False)
        if not isinstance(layer, keras.layers.InputLayer)
    }
    assert policies == {"mixed_bfloat16"}


@pytest.mark.parametrize(
    ("kind", "class_name", "settings", "message"),
    [
        ("EfficientNetBackbone", "CBABlock", {"output_filters": 10**6}, "output_filters=1000000"),
        # 2^14 * 2^12 channels, each of which is within its bounds
        (
            "EfficientNetBackbone",
            "MBConvBlock",
            {"input_filters": 2**14, "expand_ratio": 2**12},
            "million weights",
        ),
        (
            "HGNetV2Backbone",
            "HGNetV2Encoder",
            {"stage_num_blocks": [10**9]},
            "the limit of the sum is 64",
        ),
        (
            "HGNetV2Backbone",
            "HGNetV2Encoder",
            {"stage_num_of_layers": [10**9, -(10**9)]},
            "the limit of the sum is 64",
        ),
        ("RetinaNetBackbone", "FeaturePyramid", {"max_level": 10**9}, "the limit of the sum is 64"),
        ("MiTBackbone", "OverlappingPatchingAndEmbedding", {"project_dim": 1e9}, "project_dim"),
        ("MobileNetBackbone", "InvertedResidualBlock", {"expansion": 10**7}, "expansion=10000000"),
        (
            "MobileNetBackbone",
            "InvertedResidualBlock",
            {"squeeze_excite_ratio": 1e9},
            "squeeze_excite_ratio",
        ),
    ],
)
def test_refuses_a_giant_before_it_is_built(kind, class_name, settings, message, changed):
    with pytest.raises(PresetError, match=message):
        read_preset(changed(kind, class_name, config=settings))


@pytest.mark.parametrize("name", ["mine>CBABlock", "keras_hub>MBConvBlock", "dolg_zoo>CBABlock"])
def test_refuses_a_layer_that_is_registered_under_another_name(name, changed):
    folder = changed("EfficientNetBackbone", "CBABlock", registered_name=name)
    with pytest.raises(PresetError, match=f"holds '{name}' of 'keras_hub"):
        read_preset(folder)


@pytest.mark.parametrize(
    ("module", "class_name"),
    [
        ("keras_hub.src.models.efficientnet.cba", "OldBlock"),
        ("keras_hub.src.models.efficientnet.old", "CBABlock"),
        ("keras_hub.old.cba", "CBABlock"),
    ],
)
def test_a_layer_of_another_release_is_named(module, class_name, changed, monkeypatch):
    names = {"module": module, "class_name": class_name, "registered_name": class_name}
    folder = changed("EfficientNetBackbone", "CBABlock", **names)
    for table in (own_backbone.KERAS_HUB, own_backbone.ALLOWED_CLASSES):
        monkeypatch.setitem(table, module, {class_name})
    message = rf"{class_name} of '{module}'.*pip install \"dolg-zoo\[keras-hub\]\""
    with pytest.raises(PresetError, match=message):
        read_preset(folder)


def test_the_layers_that_are_let_in_are_there():
    for module, names in own_backbone.KERAS_HUB.items():
        for name in names:
            layer = getattr(importlib.import_module(module), name)
            assert issubclass(layer, keras.layers.Layer)


@pytest.mark.slow
def test_keras_hub_is_imported_only_for_its_own_layers(written):
    code = """
import sys
from dolg_zoo.presets import read_preset
for folder in sys.argv[1:]:
    read_preset(folder)
    print("keras_hub" in sys.modules)
"""
    folders = written("DenseNetBackbone"), written("EfficientNetBackbone")
    done = run([sys.executable, "-c", code, *folders], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]

import importlib.util
import json
import os
import shutil

import h5py
import keras
import numpy as np
import pytest
from preset_files import edit, flip_a_byte, forget_hashes

from dolg_zoo.models import DOLGConfig, DOLGNet
from dolg_zoo.preprocessing import ImageConverter
from dolg_zoo.presets import Preset, PresetError, own_backbone, read_preset, write_preset

FILES = ["config.json", "metadata.json", "model.weights.h5", "preprocessor.json"]


def reload(net, folder):
    write_preset(folder, Preset(net, ImageConverter(), {}))
    return read_preset(folder).net


def test_reloads_bit_for_bit_from_four_files(preset, folder, rng):
    assert sorted(path.name for path in folder.iterdir()) == FILES
    copy = read_preset(folder)
    images = rng.integers(0, 256, (2, 40, 56, 3), dtype="uint8")
    assert np.array_equal(preset.net(images), copy.net(images))
    assert copy.net.config == preset.net.config
    assert copy.image_converter == preset.image_converter
    assert copy.metadata["license"] == "CC0-1.0"


def test_a_backbone_of_the_table_is_kept_by_its_name(tmp_path):
    config = DOLGConfig(backbone="resnet18_v2", hidden_dim=8, descriptor_dim=4, taps=("P2", "P3"))
    net = DOLGNet(config=config)
    images = np.zeros((1, 64, 64, 3), "uint8")
    assert np.array_equal(reload(net, tmp_path)(images), net(images))
    assert "backbone" not in json.loads((tmp_path / "config.json").read_text())


def test_may_be_written_over_itself_without_what_a_conversion_measured(preset, folder):
    report = folder / "report.json"
    report.write_text('{"largest_difference": 2e-6, "tolerance": 2e-5}')
    preset.net.weights[0].assign(preset.net.weights[0] + 1)
    write_preset(folder, preset)
    assert np.array_equal(read_preset(folder).net.weights[0], preset.net.weights[0])
    assert sorted(path.name for path in folder.iterdir()) == FILES
    report.write_text('{"theirs": 1}')
    write_preset(folder, preset)
    assert report.read_text() == '{"theirs": 1}'


@pytest.mark.parametrize("name", FILES)
def test_names_a_missing_file(folder, name):
    (folder / name).unlink()
    with pytest.raises(PresetError, match=name.replace(".", r"\.")):
        read_preset(folder)


@pytest.mark.parametrize("name", ["config.json", "preprocessor.json", "model.weights.h5"])
def test_a_file_of_another_save_is_found_out(preset, folder, tmp_path, name):
    # what a job leaves that was killed while it wrote over an older preset
    preset.net.weights[0].assign(preset.net.weights[0] + 1)
    other = Preset(preset.net, ImageConverter(size=64), {})
    object.__setattr__(preset.net, "config", DOLGConfig(gem_epsilon=1e-3, hidden_dim=8))
    write_preset(tmp_path / "other", other)
    shutil.copy(tmp_path / "other" / name, folder / name)
    with pytest.raises(PresetError, match=f"{name} is not the file that metadata.json"):
        read_preset(folder)


@pytest.mark.parametrize("place", [0.01, 0.3, 0.6, 0.99])
def test_a_flipped_byte_in_the_weights_is_found_out(folder, place):
    flip_a_byte(folder / "model.weights.h5", place)
    with pytest.raises(PresetError, match=r"model\.weights\.h5 is not the file"):
        read_preset(folder)


@pytest.mark.parametrize("content", ["", "[", "[1]", "{" * 5000, '{"a": NaN', "\x00"])
def test_says_which_file_is_no_json(folder, content):
    forget_hashes(folder)
    (folder / "config.json").write_text(content)
    with pytest.raises(PresetError, match=r"config\.json"):
        read_preset(folder)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("config.json", {"format_version": 2}, "newer dolg-zoo"),
        ("config.json", {"surprise": 1}, "surprise"),
        ("config.json", {"dolg": {"backbone": "resnet51"}}, "resnet51"),
        ("config.json", {"dolg": {"backbone": "../../x"}}, r"\.\./\.\./x"),
        ("config.json", {"dolg": {"hidden_dim": "many"}}, "hidden_dim"),
        ("config.json", {"dolg": 3}, "'dolg' must be an object, got 3"),
        ("config.json", {"backbone": None}, "'backbone' must be an object"),
        ("config.json", {"dolg": {"descriptor_dim": 10**7}}, "descriptor_dim"),
        ("config.json", {"dolg": {"dilation_rates": [1] * 5000}}, "at most 16"),
        ("metadata.json", {"sha256": {"config.json": 5}}, "64 hexadecimal"),
        ("metadata.json", {"sha256": {"\x1b[31m": "\x1b[31m"}}, "64 hexadecimal"),
        ("metadata.json", {"sha256": []}, "64 hexadecimal"),
        ("preprocessor.json", {"size": -1}, "size"),
        ("preprocessor.json", {"command": "rm"}, "command"),
    ],
)
def test_names_the_value_at_fault(folder, name, change, message):
    edit(folder, name, lambda values: values.update(change))
    with pytest.raises(PresetError, match=message):
        read_preset(folder)


@pytest.mark.parametrize(
    ("filters", "layers", "message"),
    [
        (10**8, 1, "filters=100000000; the limit is 16384"),
        # each has an allowed width; the kernel between them would take 10 GB
        (2**14, 2, r"config\.json: .* 2416 million weights"),
    ],
)
def test_refuses_a_giant_before_it_is_built(folder, filters, layers, message):
    def widen(values):
        graph = values["backbone"]["config"]["layers"]
        convolutions = [layer for layer in graph if layer["class_name"] == "Conv2D"]
        for layer in convolutions[:layers]:
            layer["config"].update(filters=filters)
            layer.pop("build_config")

    edit(folder, "config.json", widen)
    with pytest.raises(PresetError, match=message):
        read_preset(folder)


def test_what_is_refused_for_its_size_takes_no_memory_later_either(folder, monkeypatch):
    """Keras fills what was made without memory when it next computes a shape."""
    monkeypatch.setattr(own_backbone, "MAX_WEIGHTS", 10)
    with pytest.raises(PresetError, match="million weights"):
        read_preset(folder)
    draw, filled = keras.initializers.GlorotUniform.__call__, []

    def noting(self, shape, **options):
        filled.append(shape)
        return draw(self, shape, **options)

    monkeypatch.setattr(keras.initializers.GlorotUniform, "__call__", noting)
    with keras.StatelessScope():
        pass
    assert filled == []


def test_a_wrong_graph_is_a_fault_of_its_file(folder):
    def rename(values):
        values["backbone"]["config"]["output_layers"] = [["nowhere", 0, 0]]

    edit(folder, "config.json", rename)
    with pytest.raises(PresetError, match=r"config\.json"):
        read_preset(folder)


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5"])
def test_a_pipe_is_no_file_of_a_preset(folder, name):
    forget_hashes(folder)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(PresetError, match=f"it has no {name}"):
        read_preset(folder)


def test_refuses_weights_that_are_not_finite(preset, folder):
    good = preset.net.weights[3].numpy()
    preset.net.weights[3].assign(good * np.nan)
    with pytest.raises(PresetError, match="not finite"):
        write_preset(folder, preset)
    np.testing.assert_array_equal(read_preset(folder).net.weights[3], good)
    preset.net.save_weights(folder / "model.weights.h5")
    forget_hashes(folder)
    with pytest.raises(PresetError, match="not finite"):
        read_preset(folder)


@pytest.mark.parametrize("value", [np.float32(0.5), float("nan"), {1, 2}])
def test_metadata_that_json_cannot_hold_leaves_the_old_preset_whole(preset, folder, value):
    strange = Preset(preset.net, preset.image_converter, {"map": value})
    preset.net.weights[0].assign(preset.net.weights[0] + 1)
    with pytest.raises(PresetError, match="JSON"):
        write_preset(folder, strange)
    assert not np.array_equal(read_preset(folder).net.weights[0], preset.net.weights[0])


def test_refuses_weights_of_another_architecture(folder):
    edit(folder, "config.json", lambda values: values["dolg"].update(descriptor_dim=7))
    with pytest.raises(PresetError, match="belong to different models"):
        read_preset(folder)


def truncate(path, secret):
    path.write_bytes(path.read_bytes()[:-1000])


def changing_layers(change):
    """Makes of a change to the file's first group a change to the file."""

    def damage(path, secret):
        with h5py.File(secret, "w") as other:
            other["data"] = np.ones(3, "float32")
        with h5py.File(path, "r+") as file:
            change(file["layers"], secret)

    damage.__name__ = change.__name__
    return damage


@changing_layers
def maze_of_links(group, secret):
    for _ in range(40):  # 2⁴⁰ ways through it
        inner = group.create_group("a")
        group["b"] = inner
        group = inner


@changing_layers
def external_link(group, secret):
    group["x"] = h5py.ExternalLink(str(secret), "data")


@changing_layers
def soft_link(group, secret):
    group["x"] = h5py.SoftLink("/layers")


@changing_layers
def external_storage(group, secret):
    group.create_dataset("x", (3,), "float32", external=[(str(secret), 0, 12)])


@changing_layers
def virtual_dataset(group, secret):
    layout = h5py.VirtualLayout((3,), "float32")
    layout[:] = h5py.VirtualSource(str(secret), "data", (3,))
    group.create_virtual_dataset("x", layout)


@changing_layers
def declared_size(group, secret):
    group.create_dataset("x", (2**40,), "float32", chunks=(1024,))  # takes no memory yet


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, r"model\.weights\.h5 cannot be read"),
        (maze_of_links, "two links"),
        (external_link, "has a link"),
        (soft_link, "has a link"),
        (external_storage, "in another file"),
        (virtual_dataset, "in another file"),
        (declared_size, "belong to different models"),
    ],
)
def test_refuses_a_weights_file_that_is_damaged_or_leads_elsewhere(
    folder, tmp_path, damage, message
):
    forget_hashes(folder)
    damage(folder / "model.weights.h5", tmp_path / "secret.h5")
    with pytest.raises(PresetError, match=message):
        read_preset(folder)


def test_refuses_a_classifier(preset, tmp_path):
    net = DOLGNet(preset.net.backbone, num_classes=3, config=preset.net.config)
    with pytest.raises(PresetError, match="3 classes"):
        write_preset(tmp_path / "classifier", Preset(net, preset.image_converter, {}))
    assert not (tmp_path / "classifier").exists()


# a backbone that is not in the table travels as a description of Keras layers


def poison(folder, class_name, module, config=None, registered_name=None):
    poisoned = {
        "module": module,
        "class_name": class_name,
        "config": config or {"name": "poison"},
        "registered_name": registered_name,
    }
    edit(
        folder,
        "config.json",
        lambda values: values["backbone"]["config"]["layers"].append(poisoned),
    )


@pytest.mark.parametrize(
    ("class_name", "module"),
    [
        ("Lambda", "keras.layers"),
        ("TFSMLayer", "keras.layers"),
        ("StringLookup", "keras.layers"),
        ("system", "os"),
        ("eval", "builtins"),
        ("function", "builtins"),
        ("load_model", "keras.saving"),
        ("__lambda__", None),
        ("Evil", "evil"),
        ("SwinTransformerStage", "keras_hub.src.models.swin_transformer.swin_transformer_layers"),
        ("to_be_filled", "dolg_zoo.backbones.convolution"),
        ("Conv2D", "evil"),
    ],
)
def test_refuses_a_backbone_that_names_foreign_code(folder, class_name, module):
    poison(folder, class_name, module)
    with pytest.raises(PresetError, match=f"'{class_name}' of"):
        read_preset(folder)


@pytest.mark.parametrize("named", ["os>system", "gelu", "dolg_zoo>Residual", {"a": 1}, None])
def test_refuses_a_function_that_is_not_ours(folder, named):
    poison(folder, "function", "builtins", named)
    with pytest.raises(PresetError, match="'function' of"):
        read_preset(folder)


def test_refuses_a_class_of_the_process_under_an_allowed_name(folder):
    ran = []

    @keras.saving.register_keras_serializable(package="mine")
    class Evil(keras.layers.Layer):
        def __init__(self, **kwargs):
            ran.append(kwargs)
            super().__init__()

    poison(folder, "Conv2D", "keras.layers", registered_name="mine>Evil")
    with pytest.raises(PresetError, match="'mine>Evil'"):
        read_preset(folder)
    assert not ran


def test_says_what_to_install_for_layers_of_keras_hub(folder, monkeypatch):
    find_spec = importlib.util.find_spec

    def found(name, *arguments):
        return None if name == "keras_hub" else find_spec(name, *arguments)

    monkeypatch.setattr(importlib.util, "find_spec", found)
    poison(folder, "MBConvBlock", "keras_hub.src.models.efficientnet.mbconv")
    message = r"MBConvBlock of keras-hub, .* pip install \"dolg-zoo\[keras-hub\]\""
    with pytest.raises(PresetError, match=message):
        read_preset(folder)


def small_convnext(**options):
    """Of one block a stage: layers of its own, which are no `keras.layers`."""
    from keras.src.applications.convnext import ConvNeXt

    return ConvNeXt((1, 1, 1, 1), (8, 16, 24, 32), name="convnext", **options)


@pytest.mark.parametrize(
    "application",
    [
        small_convnext,
        pytest.param(keras.applications.MobileNetV3Small, marks=pytest.mark.slow),
    ],
)
def test_carries_backbones_of_keras_applications(tmp_path, application):
    from dolg_zoo.backbones import two_taps

    base = application(include_top=False, weights=None)
    net = DOLGNet(two_taps(base), config=DOLGConfig(hidden_dim=8, descriptor_dim=4))
    images = np.full((1, 64, 64, 3), 100, "uint8")
    assert np.array_equal(reload(net, tmp_path)(images), net(images))
    keras.backend.clear_session()


def test_normalises_by_what_the_backbone_was_adapted_to(tmp_path, rng):
    """As EfficientNet of keras.applications: the layer keeps constants beside its variables."""
    norm = keras.layers.Normalization()
    norm.adapt(rng.normal(100, 40, (2, 8, 8, 3)))
    images = keras.Input((None, None, 3))
    inner = keras.Sequential([norm, keras.layers.Conv2D(4, 3)])
    backbone = keras.Model(images, [inner(images)] * 2)
    net = DOLGNet(backbone, config=DOLGConfig(hidden_dim=8, dilation_rates=()))
    image = rng.integers(0, 256, (1, 32, 32, 3), dtype="uint8")
    assert np.array_equal(reload(net, tmp_path)(image), net(image))


@pytest.mark.bfloat16
def test_reloads_a_network_of_bfloat16(tmp_path, rng):
    images = keras.Input((None, None, 3), dtype="bfloat16")
    local = keras.layers.Conv2D(4, 3, dtype="bfloat16")(images)
    net = DOLGNet(
        keras.Model(images, [local, local]), config=DOLGConfig(hidden_dim=8, dilation_rates=())
    )
    image = rng.integers(0, 256, (1, 32, 32, 3), dtype="uint8")
    assert np.array_equal(reload(net, tmp_path)(image), net(image))


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.Lambda(lambda x: x * 2),
        # Keras writes the kernel of what it wraps twice
        keras.layers.SpectralNormalization(keras.layers.Conv2D(3, 1)),
    ],
)
def test_says_so_before_it_writes_what_could_not_be_read_back(layer, tmp_path):
    images = keras.Input((None, None, 3))
    local = keras.layers.Conv2D(4, 3)(layer(images))
    net = DOLGNet(keras.Model(images, [local, local]), config=DOLGConfig(hidden_dim=8))
    with pytest.raises(PresetError, match=type(layer).__name__):
        write_preset(tmp_path / "lambda", Preset(net, ImageConverter(), {}))
    assert not (tmp_path / "lambda").exists()

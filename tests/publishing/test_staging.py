import pytest
from preset_files import edit_json, flip_a_byte
from small_model import STATED, small_model

import dolg_zoo
from dolg_zoo import DOLG
from dolg_zoo._util.hashing import sha256_of
from dolg_zoo.presets import PresetError
from dolg_zoo.publishing.architecture import architecture_of
from dolg_zoo.publishing.staging import stage, stated_facts


def small_resnet(**config):
    return dolg_zoo.dolg_resnet18_v1(
        input_shape=(64, 64, 3), hidden_dim=8, descriptor_dim=4, dilation_rates=(), **config
    )


@pytest.fixture
def folder(tmp_path):
    small_resnet().save_to_preset(tmp_path / "preset")
    return tmp_path / "preset"


@pytest.fixture
def of_the_embedded(embedded_model, tmp_path):
    embedded_model.save_to_preset(tmp_path / "tuned")
    return tmp_path / "tuned"


@pytest.mark.parametrize("saved", ["folder", "of_the_embedded"])
def test_what_the_files_say_is_what_the_loaded_network_says(saved, request, tmp_path):
    folder = request.getfixturevalue(saved)
    facts, loaded = stated_facts(folder), DOLG.from_preset(folder)
    assert facts.architecture == architecture_of(loaded.net)
    assert facts.converter == loaded.image_converter
    staged = []
    for name, known in (("one", None), ("other", facts)):
        (tmp_path / name).mkdir()
        staged.append(stage(folder, "me/mine", tmp_path / name, metadata=STATED, facts=known))
    one, other = staged
    assert one.files == other.files and one.entry("0" * 40) == other.entry("0" * 40)


def test_other_taps_and_other_backbones_must_be_loaded(tmp_path):
    for name, model in (("taps", small_resnet(taps=("P3", "P5"))), ("own", small_model())):
        model.save_to_preset(tmp_path / name)
        assert stated_facts(tmp_path / name) is None


@pytest.mark.parametrize("name", ["model.weights.h5", "margin_head.npz"])
def test_files_whose_sha256_is_not_stated_must_be_loaded(folder, name):
    model = DOLG.from_preset(folder)
    head = dolg_zoo.layers.ArcFace(3)
    head.build([(None, model.descriptor_dim), (None,)])
    model.save_to_preset(folder, head)
    assert stated_facts(folder) is not None
    edit_json(folder / "metadata.json", lambda metadata: metadata["sha256"].pop(name))
    assert stated_facts(folder) is None


def test_a_newer_format_is_refused_though_it_is_not_loaded(folder):
    edit_json(folder / "config.json", lambda config: config.update(format_version=2))
    sha256 = {"config.json": sha256_of(folder / "config.json")}
    edit_json(folder / "metadata.json", lambda metadata: metadata["sha256"].update(sha256))
    with pytest.raises(PresetError, match="format_version 2"):
        stated_facts(folder)


def test_changed_weights_are_refused_though_they_are_not_loaded(folder):
    flip_a_byte(folder / "model.weights.h5")
    with pytest.raises(PresetError, match=r"model\.weights\.h5"):
        stated_facts(folder)

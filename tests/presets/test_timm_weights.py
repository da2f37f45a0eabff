"""Weights in the form of timm's repositories, from a Hub on loopback."""

import dataclasses
import json

import numpy as np
import pytest

import dolg_zoo
from dolg_zoo.backbones import BACKBONES, build_backbone
from dolg_zoo.presets import PresetError
from dolg_zoo.training.config import ModelPlan
from dolg_zoo.weights import WeightsError

safetensors = pytest.importorskip("safetensors.numpy")

REPO = "timm/eca_nfnet_l0.ra2_in1k"
NARROW = {"blocks": (1, 1, 1, 1), "features": 12, "width": 16, "family": "eca_nfnet"}
SMALL = {"dilation_rates": (), "hidden_dim": 8, "descriptor_dim": 8}
CONFIG = {
    "architecture": "eca_nfnet_l0",
    "pretrained_cfg": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3], "classifier": "head.fc"},
}


@pytest.fixture(autouse=True)
def _narrow(monkeypatch):
    spec = dataclasses.replace(BACKBONES["eca_nfnet_l0"], arguments=NARROW)
    monkeypatch.setitem(BACKBONES, "eca_nfnet_l0", spec)


@pytest.fixture
def state(rng):
    """A tensor of timm's for each of our variables, in PyTorch's layout."""
    tensors = {"head.fc.weight": rng.normal(size=(1000, 12)), "head.fc.bias": np.zeros(1000)}
    for variable in build_backbone("eca_nfnet_l0").variables:
        module, leaf = variable.path.split("/")
        module = module.replace("attn_last_conv", "attn_last.conv")
        module = module.replace("downsample_conv", "downsample.conv").replace(
            "stem_conv", "stem.conv"
        )
        if module.startswith("stages"):
            _, stage, block, rest = module.split("_", 3)
            module = f"stages.{stage}.{block}.{rest}"
        value = rng.normal(0, 0.1, variable.shape)
        value = value.transpose(tuple(range(value.ndim))[::-1]) if value.ndim == 3 else value
        value = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value
        tensors[f"{module}.{'weight' if leaf == 'kernel' else leaf}"] = value
    return {key: np.ascontiguousarray(value, np.float32) for key, value in tensors.items()}


def publish(hub, state, config=CONFIG, file="model.safetensors"):
    files = {file: safetensors.save(state), "config.json": json.dumps(config).encode()}
    return hub.commit(REPO, files)


def kernel_of(model, layer):
    return np.asarray(model.net.backbone.get_layer(layer).kernel)


def test_imagenet_weights_of_the_table_are_fetched_and_named(logged_in, state):
    commit = publish(logged_in, state)
    model = dolg_zoo.dolg_eca_nfnet_l0(backbone_weights="imagenet", **SMALL)
    kernel = state["stages.2.0.conv2.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(kernel_of(model, "stages_2_0_conv2"), kernel)
    assert f"hf://{REPO}@{commit}" in model.metadata["provenance"]
    assert model.net.config.mean == (0.4, 0.5, 0.6)
    assert model.net.config.std == (0.2, 0.25, 0.3)


def test_an_address_may_pin_a_commit(logged_in, state):
    first = publish(logged_in, state)
    kernel = state["final_conv.weight"].transpose(2, 3, 1, 0)
    newer = state | {"final_conv.weight": state["final_conv.weight"] + 1}
    logged_in.commit(REPO, {"model.safetensors": safetensors.save(newer)})
    model = dolg_zoo.dolg_eca_nfnet_l0(backbone_weights=f"hf://{REPO}@{first}", **SMALL)
    np.testing.assert_array_equal(kernel_of(model, "final_conv"), kernel)


def test_taps_before_the_end_and_another_classifier_leave_the_rest_of_the_file_out(
    logged_in, state
):
    publish(logged_in, state | {"head.fc.weight": np.zeros((21843, 12), np.float32)})
    taps = {"taps": ("P3", "P4")}
    model = dolg_zoo.dolg_eca_nfnet_l0(backbone_weights=f"hf://{REPO}", **taps, **SMALL)
    kernel = state["stages.1.0.conv1.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(kernel_of(model, "stages_1_0_conv1"), kernel)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "eca_nfnet_l1"}, "has the architecture 'eca_nfnet_l1', but"),
        ({"architecture": None}, "has the architecture None, but eca_nfnet_l0 needs"),
        ({"pretrained_cfg": None}, "pretrained_cfg must have mean and std"),
        ({"pretrained_cfg": {"mean": [0, 0, 9], "std": [1, 1, 1]}}, "three numbers from 0 to 1"),
        ({"pretrained_cfg": {"mean": [0.5] * 3, "std": [0, 1, 1]}}, "three numbers from 0 to 1"),
    ],
)
def test_a_repository_of_something_else_is_refused(logged_in, state, change, message):
    publish(logged_in, state, CONFIG | change)
    with pytest.raises(PresetError, match=message):
        dolg_zoo.dolg_eca_nfnet_l0(backbone_weights="imagenet", **SMALL)


def test_weights_that_do_not_fit_are_one_line_that_names_the_repository(logged_in, state):
    publish(logged_in, {key: value for key, value in state.items() if key != "final_conv.weight"})
    with pytest.raises(PresetError, match=rf"hf://{REPO}@\w+: .*final_conv/kernel"):
        dolg_zoo.dolg_eca_nfnet_l0(backbone_weights="imagenet", **SMALL)


def test_other_files_than_safetensors_are_not_read(logged_in, state):
    publish(logged_in, state, file="pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"model\.safetensors of hf://.* no such file there"):
        dolg_zoo.dolg_eca_nfnet_l0(backbone_weights="imagenet", **SMALL)


@pytest.mark.parametrize(
    ("backbone", "weights", "message"),
    [
        ("efficientnet_b0", "hf://timm/efficientnet_b0.ra_in1k", "cannot be put into efficientnet"),
        ("resnet50", "hf://timm", "names no Hub repository"),
        ("resnet50", "places", "hf://timm/resnet50.a1_in1k, or None, got 'places'"),
    ],
)
def test_what_is_no_source_of_weights_is_refused_at_once(backbone, weights, message, monkeypatch):
    monkeypatch.setattr("dolg_zoo.embedders.constructors.DOLGNet", None)
    with pytest.raises(ValueError, match=message):
        getattr(dolg_zoo, f"dolg_{backbone}")(backbone_weights=weights)


def test_a_training_run_may_name_them():
    plan = ModelPlan(architecture="resnet50", backbone_weights="hf://timm/resnet50.a1_in1k")
    assert plan.backbone_weights == "hf://timm/resnet50.a1_in1k"

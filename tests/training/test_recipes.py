"""The recipes, on TensorFlow Datasets' mock data and on a small tree like GLDv2's."""

import dataclasses
import importlib.util
import re

import numpy as np
import pytest
from PIL import Image

import dolg_zoo
from dolg_zoo.training import TrainingConfig, train
from dolg_zoo.training.recipes import recipe_names, recipe_path

TFDS = ("malaria_densenet", "oxford_flowers102_efficientnet", "cmaterdb_resnet", "mnist")


def small(name):
    """The recipe with one epoch, small batches of small images and random weights.

    The backbone is the smallest of those that recipes name, or smaller: that there is the one it
    names is checked as the recipe is read, and tests/backbones/ builds each.
    """
    config = TrainingConfig.from_toml(recipe_path(name))
    named = config.model.architecture
    architecture = named if named == "mobilenet_v3_small" else "resnet18_v1"
    return dataclasses.replace(
        config,
        model=dataclasses.replace(
            config.model, architecture=architecture, backbone_weights="random"
        ),
        split=dataclasses.replace(config.split, share=0.4),
        run=dataclasses.replace(
            config.run, epochs=1, batch_size=4, image_size=64, freeze_backbone_epochs=0,
            tensorboard=False,
        ),
    )  # fmt: skip


def run_and_check(name, folder, output):
    result = train(small(name), output, relative_to=folder, say=lambda _: None)
    model = dolg_zoo.DOLG.from_preset(result.preset)
    assert np.isfinite(result.history[1]["loss"])
    assert 0 < result.history[1]["map"] <= 1
    assert model.metadata["description"] == small(name).metadata["description"]
    assert model.embed(np.zeros((1, 64, 64, 3), "uint8")).shape == (1, model.descriptor_dim)


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_can_be_read_and_says_its_own_command(name):
    TrainingConfig.from_toml(recipe_path(name))
    assert re.search(rf"^#   dolg train {name} -o \w+", recipe_path(name).read_text(), re.MULTILINE)


def test_a_recipe_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"no recipe 'gldv3'; there are .*gldv2"):
        recipe_path("gldv3")


@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow_datasets") is None, reason="needs tensorflow-datasets"
)
@pytest.mark.slow
@pytest.mark.parametrize("name", TFDS)
def test_it_runs_from_the_data_set_to_the_preset(name, tmp_path):
    from tensorflow_datasets.testing import mock_data

    with mock_data(num_examples=30, data_dir=str(tmp_path / "data")):
        run_and_check(name, tmp_path, tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gldv2", "gldv2_subcenter"])
def test_it_runs_on_a_tree_like_that_of_gldv2(name, tmp_path, rng):
    lines = ["landmark_id,images"]
    for landmark in (7, 19, 203, 81312):
        ids = [f"{rng.integers(2**60):016x}" for _ in range(3)]
        lines.append(f"{landmark},{' '.join(ids)}")
        for image in ids:
            path = tmp_path.joinpath("gldv2", "train", *image[:3], f"{image}.jpg")
            path.parent.mkdir(parents=True)
            Image.fromarray(rng.integers(0, 255, (70, 90, 3)).astype("uint8")).save(path)
    (tmp_path / "gldv2" / "train_clean.csv").write_text("\n".join(lines) + "\n")
    run_and_check(name, tmp_path, tmp_path / "out")

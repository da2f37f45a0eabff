"""The recipes, on TensorFlow Datasets' mock data and on a small tree like GLDv2's."""

import dataclasses
import importlib.util
import re

import numpy as np
import pytest
from PIL import Image

import dolg_zoo
from dolg_zoo.training import TrainingConfig, train
from dolg_zoo.training.config import ModelPlan
from dolg_zoo.training.recipes import recipe_names, recipe_path

TFDS = ("malaria_densenet", "oxford_flowers102_efficientnet", "cmaterdb_resnet", "mnist")


def small(name, preset):
    """The recipe with one epoch, small batches of small images, and a preset of few layers.

    But for a recipe that states settings of its model. That there is the backbone it names is
    checked as the recipe is read; tests/backbones/ builds each.
    """
    config = TrainingConfig.from_toml(recipe_path(name))
    return dataclasses.replace(
        config,
        model=config.model if config.model.settings else ModelPlan(preset=str(preset)),
        split=dataclasses.replace(config.split, share=0.4),
        run=dataclasses.replace(
            config.run, epochs=1, batch_size=4, image_size=32, freeze_backbone_epochs=0,
            tensorboard=False,
        ),
    )  # fmt: skip


def run_and_check(name, preset, folder):
    config = small(name, preset)
    result = train(config, folder / "out", relative_to=folder, say=lambda _: None)
    model = dolg_zoo.DOLG.from_preset(result.preset)
    assert np.isfinite(result.history[1]["loss"])
    assert 0 < result.history[1]["map"] <= 1
    assert model.metadata["description"] == config.metadata["description"]
    assert model.embed(np.zeros((1, 32, 32, 3), "uint8")).shape == (1, model.descriptor_dim)


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
def test_it_runs_from_the_data_set_to_the_preset(name, folder, tmp_path):
    from tensorflow_datasets.testing import mock_data

    with mock_data(num_examples=30, data_dir=str(tmp_path / "data")):
        run_and_check(name, folder / "tiny", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["gldv2", pytest.param("gldv2_subcenter", marks=pytest.mark.bfloat16)]
)
def test_it_runs_on_a_tree_like_that_of_gldv2(name, folder, tmp_path, rng):
    lines = ["landmark_id,images"]
    for landmark in (7, 19, 203, 81312):
        ids = [f"{rng.integers(2**60):016x}" for _ in range(3)]
        lines.append(f"{landmark},{' '.join(ids)}")
        for image in ids:
            path = tmp_path.joinpath("gldv2", "train", *image[:3], f"{image}.jpg")
            path.parent.mkdir(parents=True)
            Image.fromarray(rng.integers(0, 255, (70, 90, 3)).astype("uint8")).save(path)
    (tmp_path / "gldv2" / "train_clean.csv").write_text("\n".join(lines) + "\n")
    run_and_check(name, folder / "tiny", tmp_path)

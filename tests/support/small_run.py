"""The smallest training run there is, for the tests of training."""

import importlib
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import keras
import numpy as np
from PIL import Image

import dolg_zoo
from dolg_zoo import DOLG, DOLGConfig, DOLGNet, ImageConverter
from dolg_zoo.training import TrainingConfig

CLASSES, IMAGES = 5, 6
NEW = {"preset": None, "architecture": "resnet18_v1", "backbone_weights": "random"}


def tables(**changes):
    """A small run: 8 steps of 4 images of 32×32 pixels."""
    all_tables = {
        "data": {"folder": "photos"},
        "model": {"preset": "tiny"},
        "split": {"share": 0.4},
        "head": {"name": "subcenter_arcface", "label_smoothing": 0.0, "settings": {}},
        "optimizer": {
            **{"name": "sgd", "learning_rate": 0.01, "weight_decay": 1e-4, "warmup_epochs": 0.5},
            **{"backbone_rate": 1.0, "head_rate": 1.0, "local_rate": 1.0},
            "average_with_start": 0.0,
        },
        "run": {"epochs": 2, "batch_size": 4, "image_size": 32},
    }
    for name, table in changes.items():
        all_tables[name] = {**all_tables.get(name, {}), **table}
    return all_tables


def config(folder, **changes):
    """The run, with the preset that lies in the folder."""
    told = tables(**changes)
    if told["model"].get("preset") == "tiny":
        told["model"]["preset"] = str(folder / "tiny")
    return TrainingConfig.from_dict(told)


def tiny_model(size=32):
    keras.utils.set_random_seed(1)
    image = keras.Input((size, size, 3))
    local = keras.layers.Conv2D(8, 3, strides=4, name="conv1")(image)
    local = keras.layers.BatchNormalization(name="bn1")(local)
    deep = keras.layers.Conv2D(8, 3, strides=2, name="conv2")(local)
    settings = {"input_shape": image.shape[1:], "dilation_rates": (), "hidden_dim": 8}
    net = DOLGNet(
        keras.Model(image, [local, deep]), config=DOLGConfig(descriptor_dim=8, **settings)
    )
    return DOLG(net, ImageConverter(size=(32, 32), mode="squash"))


def write_data(folder):
    """Five classes of six photographs: noise, of a colour that is the class's own; and a preset."""
    rng = np.random.default_rng(0)
    for label, colour in enumerate(rng.uniform(40, 200, (CLASSES, 3))):
        (folder / "photos" / f"place{label}").mkdir(parents=True)
        for number in range(IMAGES):
            pixels = np.clip(colour + rng.normal(0, 30, (40, 40, 3)), 0, 255).astype("uint8")
            Image.fromarray(pixels).save(folder / "photos" / f"place{label}" / f"{number}.png")
    tiny_model().save_to_preset(folder / "tiny")


@cache
def default_model():
    """Stands for the default preset, which takes as long to load and to score as a small run."""
    model = tiny_model()
    model.net.get_layer("descriptor").bias.assign_add([1.0] * 8)
    return model


def skip_what_takes_longest(replace):
    """Have a run draw no curves and score no real default preset; `replace` is as `setattr`."""
    run = importlib.import_module("dolg_zoo.training.run")
    replace(run, "save_figure", lambda *given, **options: None)
    replace(run, "embedder", default_model)


def start_training(folder, output, changes, kill_at=None, env=None):
    """Train in a process of its own, which is killed at a step if one is given."""
    script = Path(__file__).with_name("train_small_run.py")
    last = [] if kill_at is None else [str(kill_at)]
    return subprocess.Popen(
        [sys.executable, str(script), str(folder), str(output), json.dumps(changes), *last],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def weights_of(preset):
    return dolg_zoo.DOLG.from_preset(preset).get_weights()


def largest_difference(one, other):
    return max(np.abs(a - b).max() for a, b in zip(weights_of(one), weights_of(other), strict=True))

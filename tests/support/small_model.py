"""Presets small enough to publish in no time."""

import keras

from dolg_zoo.models import DOLGConfig, DOLGNet
from dolg_zoo.preprocessing import ImageConverter

STATED = {
    "description": "A toy that finds nothing.",
    "dataset": "random numbers",
    "license": "CC0-1.0",
    "provenance": "Drawn at random for a test.",
}


def small_model(**metadata):
    """A model over a backbone of its own, with random weights."""
    from dolg_zoo import DOLG

    keras.utils.set_random_seed(1)
    images = keras.Input((None, None, 3))
    local = keras.layers.Conv2D(5, 3, strides=4, padding="same", activation="relu")(images)
    top = keras.layers.Conv2D(7, 3, strides=2, padding="same", activation="relu")(local)
    half = (0.5, 0.5, 0.5)
    config = DOLGConfig(hidden_dim=8, descriptor_dim=6, dilation_rates=(), mean=half, std=half)
    net = DOLGNet(keras.Model(images, [local, top]), config=config)
    return DOLG(net, ImageConverter(size=32), metadata)

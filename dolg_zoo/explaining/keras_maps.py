"""The maps of an image, computed by Keras."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from dolg_zoo.explaining.decomposition import Decomposition, Dense, Maps, decompose
from dolg_zoo.models import DOLGNet

LAYERS = ("descriptor", "whitening")
"""The layers after the maps; some networks lack the second."""


def decompose_by_keras(net: DOLGNet, image: np.ndarray) -> Decomposition:
    """Return the parts of the descriptor of a network's input image (height, width, 3)."""
    maps = {
        name: keras.ops.convert_to_numpy(batch)[0]
        for name, batch in _maps(net, keras.ops.convert_to_tensor(image[None])).items()
    }
    return decompose(Maps(**maps), *last_layers(net).values())


def last_layers(net: DOLGNet) -> dict[str, Dense]:
    """Return the layers after the maps by their names."""
    layers = [net.get_layer(name) for name in LAYERS[: 1 + (net.config.whitened_dim is not None)]]
    return {
        layer.name: Dense(*map(keras.ops.convert_to_numpy, (layer.kernel, layer.bias)))
        for layer in layers
    }


def maps_model(net: DOLGNet) -> keras.Model:
    """Return a model from uint8 images (batch, height, width, 3) to a dict of the maps."""
    images = keras.Input(net.input_shape[1:], dtype="uint8", name="images")
    return keras.Model(images, _maps(net, images), name="maps")


def _maps(net: DOLGNet, images: Any) -> dict[str, Any]:
    x = keras.ops.cast(images, "float32")
    if net.config.mean is not None:
        x = net.get_layer("normalization")(x)
    local_map, global_map = net.backbone(x, training=False)
    features, weights = net.get_layer("local_branch").attend(local_map, training=False)
    vector = net.get_layer("global_projection")(net.get_layer("gem")(global_map))
    maps = {"features": features, "weights": weights, "vector": vector}
    return {name: keras.ops.cast(tensor, "float32") for name, tensor in maps.items()}

"""Copy a network with a whitening layer, and refresh normalisation constants."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np

from dolg_zoo.backbones import to_be_filled
from dolg_zoo.models.dolg_net import DOLGNet


def whitened_net(net: DOLGNet, kernel: np.ndarray, bias: np.ndarray) -> DOLGNet:
    """Return a copy of a network whose L2-normalised descriptor d becomes d @ kernel + bias.

    Args:
        net: a network without whitening; it does not change.
        kernel: (descriptor_dim, whitened_dim).
        bias: (whitened_dim,).
    """
    config = dataclasses.replace(net.config, whitened_dim=kernel.shape[1])
    with to_be_filled():
        copy = DOLGNet.from_config({**net.get_config(), "config": config.to_dict()})
    whitening = copy.get_layer("whitening")
    for layer in copy.layers:
        if layer is not whitening and layer.weights:
            layer.set_weights(net.get_layer(layer.name).get_weights())
    whitening.set_weights([kernel, bias])
    finalize_normalization(copy)
    return copy


def finalize_normalization(model: keras.Model) -> None:
    """Recompute the constants of Normalization layers from their loaded variables."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            finalize_normalization(layer)
        elif isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()

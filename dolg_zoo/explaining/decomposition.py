"""A descriptor as a sum over the positions of the local feature map.

DOLG's descriptor is linear in the local map: orthogonal projection, mean, fully connected layer and
whitening are all linear once the global vector and the two norms that are divided by are known.
So d = base + Σ contributions of positions, exactly; `base` is what the global branch says.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np

from dolg_zoo.models import DOLGNet


@dataclass(frozen=True)
class Decomposition:
    """A descriptor and what it is made of; computed in float64.

    Attributes:
        attention: (height, width), the local branch's weight of each position, 0 or more; the mean
            over the channels where each has its own.
        base: (dim,), the global branch's part, the biases among it.
        places: (height, width, dim), what each position of the local map adds.
    """

    attention: np.ndarray
    base: np.ndarray
    places: np.ndarray

    @property
    def descriptor(self) -> np.ndarray:
        """(dim,), of norm 1."""
        return self.base + self.places.sum(axis=(0, 1))


def decompose(net: DOLGNet, image: np.ndarray) -> Decomposition:
    """Take a descriptor apart.

    Args:
        net: gives descriptors.
        image: (height, width, 3), as it enters the network.

    Returns:
        The parts, whose sum is the L2-normalised descriptor.
    """
    x = keras.ops.convert_to_tensor(image[None], "float32")
    if net.config.mean is not None:
        x = net.get_layer("normalization")(x)
    local_map, global_map = net.backbone(x, training=False)
    features, weights = net.get_layer("local_branch").attend(local_map, training=False)
    features, weights = _float64(features), _float64(weights)
    attention = weights * np.linalg.norm(features, axis=-1, keepdims=True)
    local = features * weights / (features.shape[0] * features.shape[1])

    vector = _float64(net.get_layer("global_projection")(net.get_layer("gem")(global_map)))
    square = vector @ vector
    direction = vector / np.sqrt(square) if square else vector
    orthogonal = local - (local @ direction)[..., None] * direction

    kernel, bias = map(_variable, _weights(net, "descriptor"))
    base = vector @ kernel[: len(vector)] + bias
    places = orthogonal @ kernel[len(vector) :]
    if net.config.whitened_dim is not None:
        kernel, bias = map(_variable, _weights(net, "whitening"))
        norm = np.linalg.norm(base + places.sum(axis=(0, 1)))
        base, places = base @ kernel / norm + bias, places @ kernel / norm
    norm = np.linalg.norm(base + places.sum(axis=(0, 1)))
    return Decomposition(attention.mean(axis=-1), base / norm, places / norm)


def _weights(net: DOLGNet, layer: str) -> tuple[keras.Variable, keras.Variable]:
    dense = net.get_layer(layer)
    return dense.kernel, dense.bias


def _variable(variable: keras.Variable) -> np.ndarray:
    return keras.ops.convert_to_numpy(variable).astype(np.float64)


def _float64(batch) -> np.ndarray:
    """Return the one element of a batch."""
    return keras.ops.convert_to_numpy(keras.ops.cast(batch, "float32"))[0].astype(np.float64)

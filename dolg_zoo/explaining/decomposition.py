"""A descriptor as a sum over the positions of the local feature map.

DOLG's descriptor is linear in the local map: orthogonal projection, mean, fully connected layer and
whitening are all linear once the global vector and the two norms that are divided by are known.
So d = base + Σ contributions of positions, exactly; `base` is what the global branch says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Maps:
    """What a network computes of one image, before its last layers.

    Attributes:
        features: (height, width, channels), the features of the local branch, not normalised.
        weights: (height, width, 1 or channels), attention / ‖features‖. The local map is the
            product of the two.
        vector: (channels,), the projected global vector.
    """

    features: np.ndarray
    weights: np.ndarray
    vector: np.ndarray


@dataclass(frozen=True)
class Dense:
    """A fully connected layer: `x @ kernel + bias`.

    Attributes:
        kernel: (inputs, outputs).
        bias: (outputs,).
    """

    kernel: np.ndarray
    bias: np.ndarray


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


def decompose(maps: Maps, descriptor: Dense, whitening: Dense | None = None) -> Decomposition:
    """Take a descriptor apart.

    Args:
        maps: of the image.
        descriptor: the last layer of the head, over the global and the local half.
        whitening: the layer after that, where there is one.

    Returns:
        The parts, whose sum is the L2-normalised descriptor.
    """
    features, weights = maps.features.astype(np.float64), maps.weights.astype(np.float64)
    attention = weights * np.linalg.norm(features, axis=-1, keepdims=True)
    local = features * weights / (features.shape[0] * features.shape[1])

    vector = maps.vector.astype(np.float64)
    square = vector @ vector
    direction = vector / np.sqrt(square) if square else vector
    orthogonal = local - (local @ direction)[..., None] * direction

    kernel = descriptor.kernel.astype(np.float64)
    base = vector @ kernel[: len(vector)] + descriptor.bias
    places = orthogonal @ kernel[len(vector) :]
    if whitening is not None:
        kernel = whitening.kernel.astype(np.float64)
        norm = np.linalg.norm(base + places.sum(axis=(0, 1)))
        base, places = base @ kernel / norm + whitening.bias, places @ kernel / norm
    norm = np.linalg.norm(base + places.sum(axis=(0, 1)))
    return Decomposition(attention.mean(axis=-1), base / norm, places / norm)

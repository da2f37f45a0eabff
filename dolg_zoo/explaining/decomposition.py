"""A descriptor as a sum over the positions of the local feature map.

For a given global vector and norm, the descriptor is linear in the local map, since all later
layers are linear. So exactly d = base + Σ contributions of positions; `base` is the part of the
global branch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Maps:
    """The maps of an image before the last layers; the local map is features * weights."""

    features: np.ndarray  # (height, width, channels), of the local branch, not normalised
    weights: np.ndarray  # (height, width, 1 or channels), attention / ‖features‖
    vector: np.ndarray  # (channels,), the projected global vector


@dataclass(frozen=True)
class Dense:
    """A fully connected layer: `x @ kernel + bias`."""

    kernel: np.ndarray  # (inputs, outputs)
    bias: np.ndarray  # (outputs,)


@dataclass(frozen=True)
class Decomposition:
    """A descriptor's parts, in float64."""

    attention: np.ndarray  # (height, width), at least 0; the mean over its channels
    base: np.ndarray  # (dim,), the global branch's part, with the biases
    places: np.ndarray  # (height, width, dim), the part of each position of the local map

    @property
    def descriptor(self) -> np.ndarray:
        """(dim,), of norm 1."""
        return self.base + self.places.sum(axis=(0, 1))


def decompose(maps: Maps, descriptor: Dense, whitening: Dense | None = None) -> Decomposition:
    """Return the parts whose sum is the L2-normalised descriptor."""
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

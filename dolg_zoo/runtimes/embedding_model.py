"""The part of a `DOLG` that compiling, exporting and explaining use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from dolg_zoo.preprocessing import ImageConverter

if TYPE_CHECKING:
    from dolg_zoo.models import DOLGNet


class Embeds(Protocol):
    """An object that maps batches of images to normalised descriptors."""

    def infer(self, images: np.ndarray) -> np.ndarray:
        """Map (batch, height, width, 3) uint8 to (batch, dim) float32, each row of norm 1."""


class EmbeddingModel(Embeds, Protocol):
    """A model with its preprocessing; `DOLG` documents the attributes."""

    net: DOLGNet
    image_converter: ImageConverter
    input_shape: tuple[int | None, ...]
    dtype_policy: Any
    traced: Any

    @property
    def metadata(self) -> dict[str, Any]:
        """Facts about the weights."""

    @property
    def descriptor_dim(self) -> int:
        """The dimension of a descriptor."""

    @property
    def model_id(self) -> str:
        """32 hexadecimal digits, a hash of weights and settings."""

    def compile_for_inference(self, runtime: str) -> Embeds:
        """Return the model compiled for a runtime."""

"""The fingerprint of a model, which identifies the origin of descriptors."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dolg_zoo.embedders.base import ImageEmbedder
    from dolg_zoo.runtimes.embedding_model import EmbeddingModel


def fingerprint(model: EmbeddingModel) -> str:
    """Return 32 hexadecimal digits that are equal for models with equal descriptors."""
    # hash the current weights: the hashes in the preset's metadata do not change with training
    settings = [
        model.net.config.to_dict(),
        [type(layer).__name__ for layer in model.net.backbone.layers],
        model.image_converter.to_config(),
        model.dtype_policy.name,
    ]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for weight in model.net.weights:  # `variables` also has states of random generators
        value = weight.numpy()
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()[:32]


def name_of_model(model: ImageEmbedder) -> str:
    """Return the name of a model for messages."""
    metadata = model.metadata
    return metadata.get("preset") or metadata.get("name") or "a model without a name"

"""The work after a network's variables have been set from outside."""

from __future__ import annotations

import keras


def normalize_by_what_was_loaded(model: keras.Model) -> None:
    """Recompute the constants of Normalization layers from their loaded variables."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            normalize_by_what_was_loaded(layer)
        elif isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()

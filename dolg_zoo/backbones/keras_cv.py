"""Backbones of keras-cv, built from the arguments in the registry.

Only this module imports keras-cv, and only for its networks: keras-cv has had no release since
April 2024, so it must stay replaceable. Two differences from keras-cv:

- EfficientNet V1: keras-cv puts an activation after the projection of each block. The paper (arXiv
  1905.11946), all published weights and keras.applications have none, so there is none here.
- MiT: the maps of stride 4 to 32 are "P2" to "P5", as in all other backbones, not "P1" to "P4".

With unknown height and width, EfficientNet V1 and MobileNetV3 pad as if each map had an even size.
At sizes that are no multiple of 32, the output then differs a little from the trained network for
that fixed size; pass `input_shape` if that matters. CSPDarkNet needs even sides, MiT square images
of a fixed size.
"""

from __future__ import annotations

from typing import Any

import keras

from dolg_zoo._util.imports import import_errors_reported
from dolg_zoo._util.types import Shape
from dolg_zoo.backbones.registry import BackboneSpec


def build_keras_cv(spec: BackboneSpec, input_shape: Shape) -> tuple[keras.Model, dict[str, str]]:
    """Build a keras-cv network with new weights; return it and the layer names of "P2" to "P5"."""
    backbone = _class(spec)(include_rescaling=False, input_shape=input_shape, **spec.arguments)
    levels = backbone.pyramid_level_inputs
    if spec.keras_cv_class == "EfficientNetV1Backbone":
        for layer in backbone.layers:
            if layer.name.endswith("_project_activation"):
                layer.activation = keras.activations.linear
    elif spec.keras_cv_class == "MiTBackbone":
        levels = {f"P{int(level[1:]) + 1}": layer for level, layer in levels.items()}
    return backbone, {level: levels[level] for level in ("P2", "P3", "P4", "P5")}


def build_pretrained(spec: BackboneSpec, preset: str) -> keras.Model:
    """Build the registry's network and load only arrays from keras-cv's preset on Kaggle."""
    # keras-cv's `from_preset` would build any class that the downloaded configuration names
    import kagglehub

    handle = _class(spec).presets[preset]["kaggle_handle"].removeprefix("kaggle://")
    network, _ = build_keras_cv(spec, spec.input_shape)
    network.load_weights(kagglehub.model_download(handle, "model.weights.h5"))
    return network


def _class(spec: BackboneSpec) -> Any:
    with import_errors_reported():
        import keras_cv

    return getattr(keras_cv.models, str(spec.keras_cv_class))

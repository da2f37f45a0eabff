"""Backbones of keras-cv, built from the arguments in the registry.

The only module that imports keras-cv, and only when one of its networks is asked for: keras-cv has
had no release since April 2024, so it has to stay replaceable.

Two things differ from what keras-cv would build by itself:

- EfficientNet V1: keras-cv puts an activation after the projection of every block. The paper (arXiv
  1905.11946, after MobileNetV2's linear bottleneck), every published weight file and
  keras.applications have none, and keras-cv has no weights of its own for this variant. The
  projections are made linear here.
- MiT: keras-cv calls its maps of stride 4, 8, 16 and 32 "P1" to "P4"; here they are "P2" to "P5",
  as with every other backbone.

Where height and width are unknown (None), EfficientNet V1 and MobileNetV3 pad, as our
EfficientNet-Lite does, as if every map had an even size. At an image size that is not a multiple
of 32 their output then departs a little from that of the same network built for that size, which is
what weights were trained as; pass `input_shape` if that matters. CSPDarkNet takes even heights and
widths only, MiT square images of a size known when it is built.
"""

from __future__ import annotations

import keras

from dolg_zoo._util.imports import imports_told
from dolg_zoo.backbones.registry import BackboneSpec


def build_keras_cv(
    spec: BackboneSpec, input_shape: tuple[int | None, ...]
) -> tuple[keras.Model, dict[str, str]]:
    """Build a keras-cv backbone with new weights and without rescaling.

    Returns:
        The whole network, and the names of the layers at strides 4, 8, 16 and 32 as "P2" to "P5".
    """
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
    """Build the whole network with the weights of keras-cv's preset on Kaggle.

    keras-cv's own `from_preset` would build whatever the downloaded configuration names; here the
    architecture is the registry's and only arrays are read from the download.
    """
    import kagglehub

    handle = _class(spec).presets[preset]["kaggle_handle"].removeprefix("kaggle://")
    network, _ = build_keras_cv(spec, spec.input_shape)
    network.load_weights(kagglehub.model_download(handle, "model.weights.h5"))
    return network


def _class(spec: BackboneSpec):
    with imports_told():
        import keras_cv

    return getattr(keras_cv.models, str(spec.keras_cv_class))

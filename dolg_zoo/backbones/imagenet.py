"""ImageNet weights for the backbones, from the sources of the Keras ecosystem.

- keras.applications, where its network equals keras-cv's: EfficientNet V1 and V2, MobileNetV3.
  Keras checks each download against a hash in its source code.
- keras-cv's presets on Kaggle for the others (ResNet and DenseNet pad differently there;
  CSPDarkNet and MiT are missing). The version is pinned; kagglehub checks the server's MD5 if
  there is one, which finds only a broken transfer. Only arrays are read from the file.

ResNet v1.5, ResNeSt, NFNet and EfficientNet-Lite come from the Hugging Face Hub, by
`dolg_<backbone>(backbone_weights="imagenet")`. The rest have no source.
"""

from __future__ import annotations

from itertools import zip_longest

import keras

from dolg_zoo.backbones.imagenet_sources import SOURCES, check_imagenet_source
from dolg_zoo.backbones.keras_cv import build_pretrained
from dolg_zoo.backbones.registry import BACKBONES
from dolg_zoo.backbones.taps import tap_layers


def load_imagenet_weights(name: str, backbone: keras.Model) -> None:
    """Download ImageNet weights, and load them into a backbone.

    The module's docstring names the sources and their checks. The backbone then expects images
    normalised with `imagenet_normalization(name)`.

    Args:
        name: A key of `BACKBONES`.
        backbone: The result of `build_backbone(name)`, with any taps and input shape.

    Raises:
        ValueError: If there is no source of weights for that backbone, or it is not that backbone.
        Exception: From Keras or kagglehub, if a download fails or a hash does not match.
    """
    check_imagenet_source(name)
    source = SOURCES[name]
    if source.timm:
        raise ValueError(
            f"ImageNet weights of {name!r} come from the Hugging Face Hub: call"
            f' dolg_zoo.dolg_{name}(backbone_weights="imagenet").'
        )
    if source.application:
        trained = getattr(keras.applications, source.application)(include_top=False)
        port_keras_applications(trained, backbone)
    else:
        trained = build_pretrained(BACKBONES[name], str(source.kaggle_preset))
        backbone.set_weights(tap_layers(trained, backbone.output_names).get_weights())


def port_keras_applications(source: keras.Model, backbone: keras.Model) -> list[str]:
    """Copy keras.applications weights by order; return the paths of weights without a target."""
    # The order is unique: in these families all layers with weights lie on one chain. If the
    # networks differ, a ValueError is raised and nothing is copied.
    unused: list[keras.Variable] = []
    given: list[keras.Variable] = []
    for layer in source.layers:
        (unused if isinstance(layer, keras.layers.Normalization) else given).extend(layer.weights)
    targets = backbone.weights
    for weight, target in zip_longest(given[: len(targets)], targets):
        if weight is None or (weight.name, weight.shape) != (target.name, target.shape):
            actual = f"{weight.path} {weight.shape}" if weight is not None else "nothing more"
            raise ValueError(
                f"The weights of {source.name!r} do not fit backbone {backbone.name!r}: for "
                f"{target.path} {target.shape} it has {actual}."
            )
    for weight, target in zip(given, targets, strict=False):
        target.assign(weight)
    return [weight.path for weight in unused + given[len(targets) :]]

"""ImageNet weights for the backbones, from the sources of the Keras ecosystem.

Two sources, by backbone:

- keras.applications, where its network computes the same as keras-cv's: EfficientNet V1 and V2,
  MobileNetV3. Keras compares every file it downloads with a hash in its own source code.
- keras-cv's presets on Kaggle, where keras.applications has another network (ResNet and DenseNet
  pad otherwise) or none (CSPDarkNet, MiT). The version is pinned, and kagglehub compares the file
  with the MD5 sum that the server states, if it states one: that finds a broken transfer, but no
  hash is published to hold the file against. Only arrays are read from it.

Those of ResNet v1.5, ResNeSt, NFNet and EfficientNet-Lite come from the Hugging Face Hub, by
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
    """Download ImageNet weights and put them into a backbone, in place.

    The module's docstring says where they come from and what is checked. The backbone then expects
    images normalised with `imagenet_normalization(name)`.

    Args:
        name: A key of `BACKBONES`.
        backbone: What `build_backbone(name)` returned, with any taps and input shape.

    Raises:
        ValueError: If there is no source of weights for that backbone, or it is not that backbone.
        Exception: What Keras or kagglehub raises when a download fails or a hash does not match.
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
    """Copy the weights of a keras.applications network into the backbone of the same architecture.

    They are matched by their order. In the families that come from keras.applications all layers
    with weights lie on one chain, the shortcuts having none, so there is but one order.

    Args:
        source: The network, with or without its top.
        backbone: What `build_backbone` returned.

    Returns:
        The paths of those weights of the source that the backbone does not have: its in-model
        normalisation and what lies past the taps.

    Raises:
        ValueError: If the networks differ; nothing has been copied then.
    """
    unused: list[keras.Variable] = []
    given: list[keras.Variable] = []
    for layer in source.layers:
        (unused if isinstance(layer, keras.layers.Normalization) else given).extend(layer.weights)
    wanted = backbone.weights
    for theirs, ours in zip_longest(given[: len(wanted)], wanted):
        if theirs is None or (theirs.name, theirs.shape) != (ours.name, ours.shape):
            found = f"{theirs.path} {theirs.shape}" if theirs is not None else "nothing more"
            raise ValueError(
                f"The weights of {source.name!r} do not fit backbone {backbone.name!r}: for "
                f"{ours.path} {ours.shape} it has {found}."
            )
    for theirs, ours in zip(given, wanted, strict=False):
        ours.assign(theirs)
    return [weight.path for weight in unused + given[len(wanted) :]]

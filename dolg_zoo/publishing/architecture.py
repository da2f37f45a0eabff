"""The structure of a network as plain data, to be drawn or described."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dolg_zoo.embedders.constructor_table import list_constructors

if TYPE_CHECKING:
    from dolg_zoo.models import DOLGConfig, DOLGNet

# Taps that are not levels of their backbone: the taps of the presets in the package, and of presets
# fine-tuned from them. (backbone, layer): (stride, channels)
TAPS_BY_LAYER = {("efficientnet_lite_b0", "block6a_expand_activation"): (16, 672)}

# The strides of a backbone for images of any size are worked out for this size.
PROBE_SIZE = 256


@dataclass(frozen=True)
class Tap:
    """One of the backbone's two feature maps."""

    name: str  # its level, such as "P4", or the name of its layer
    stride: int  # pixels of the image from one position of the map to the next
    channels: int


@dataclass(frozen=True)
class Architecture:
    """A DOLG network as plain data."""

    config: DOLGConfig
    backbone: str  # its name in `dolg_zoo.BACKBONES`, or how many layers it has if it has none
    local: Tap  # the map that the local branch takes
    global_: Tap  # the map that GeM takes
    parameters: int  # trained or not


def stated_architecture(config: DOLGConfig, parameters: int) -> Architecture | None:
    """Return a network's parts without building it; None if its taps are not in the tables."""
    backbone = config.backbone
    constructors = {entry.name.removeprefix("dolg_"): entry for entry in list_constructors()}
    if backbone not in constructors:
        return None
    stated = constructors[backbone]
    # the map of level P4 has 2⁴ pixels of the image from one position to the next
    taps = {
        level: Tap(level, 2 ** int(level[1:]), channels)
        for level, channels in zip(stated.taps, stated.channels, strict=True)
    }
    for (owner, layer), (stride, channels) in TAPS_BY_LAYER.items():
        if owner == backbone:
            taps[layer] = Tap(layer, stride, channels)
    if not {*config.taps} <= taps.keys():
        return None
    local, global_ = (taps[name] for name in config.taps)
    return Architecture(config, backbone, local, global_, parameters)


def architecture_of(net: DOLGNet) -> Architecture:
    """Return the parts of a network and the shapes between them."""
    config, backbone = net.config, net.backbone
    height, width, channels = backbone.input_shape[1:]
    probe = (1, height or PROBE_SIZE, width or PROBE_SIZE, channels)
    names = config.taps if config.backbone else backbone.output_names
    local, global_ = (
        Tap(name, round(probe[1] / shape[1]), shape[3])
        for name, shape in zip(names, backbone.compute_output_shape(probe), strict=True)
    )
    own = f"its own, of {len(backbone.layers)} layers"
    return Architecture(config, config.backbone or own, local, global_, net.count_params())

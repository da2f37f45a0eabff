"""The functions dolg_<backbone>(…), from the table of backbones."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from dolg_zoo.backbones import (
    BACKBONES,
    build_backbone,
    imagenet_normalization,
    load_imagenet_weights,
    to_be_filled,
)
from dolg_zoo.backbones.imagenet_sources import SHIPPED, SOURCES, check_imagenet_source
from dolg_zoo.embedders.dolg import DOLG
from dolg_zoo.models import DOLGConfig, DOLGNet
from dolg_zoo.preprocessing import ImageConverter
from dolg_zoo.presets import preset_names, preset_tags, read_preset, resolve_preset
from dolg_zoo.presets.registry import of_the_zoo
from dolg_zoo.presets.timm_weights import TimmWeights, fetch_timm_weights, load_timm_weights


def __getattr__(name: str) -> Callable[..., DOLG]:
    architecture = name.removeprefix("dolg_")
    if architecture == name or architecture not in BACKBONES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    function = globals()[name] = constructor(architecture)
    return function


def constructor(architecture: str) -> Callable[..., DOLG]:
    """Return the function `dolg_<architecture>`."""

    def construct(
        pretrained: str | None = None, backbone_weights: str | None = None, **overrides: Any
    ) -> DOLG:
        if pretrained is not None:
            return _pretrained(architecture, pretrained, backbone_weights, overrides)
        return _new(architecture, backbone_weights, overrides)

    construct.__name__ = construct.__qualname__ = f"dolg_{architecture}"
    construct.__doc__ = f"""Return a DOLG model with the backbone {architecture}.

    Args:
        pretrained: the tag of a preset, which names its training data; None for a new head.
        backbone_weights: "imagenet" for a backbone trained on ImageNet, with a new head to train;
            the address of other timm weights for the same architecture, such as
            hf://timm/resnet50.a1_in1k, with @revision to pin them; None for random weights.
        **overrides: values of `DOLGConfig`, such as descriptor_dim=256 or taps=("P3", "P4"); and
            image_converter, an `ImageConverter`.

    Returns:
        A `DOLG` model.

    Raises:
        ValueError: if there is no such tag or source of weights; the message lists the existing
            ones. If an override is out of its range; or if weights are of another architecture.
        WeightsError: if a file cannot be downloaded, or its hash differs.
    """
    return construct


def _pretrained(
    architecture: str, tag: str, backbone_weights: str | None, overrides: dict[str, Any]
) -> DOLG:
    if backbone_weights is not None or overrides:
        given = sorted({*overrides, *(["backbone_weights"] if backbone_weights else [])})
        raise ValueError(
            f"A preset's architecture and weights are fixed, so pretrained={tag!r} excludes"
            f" {', '.join(given)}; leave out either."
        )
    name = f"dolg_{architecture}_{tag}"
    if name not in preset_names():
        tags = ", ".join(map(repr, preset_tags(architecture))) or "none so far"
        raise ValueError(
            f"There is no preset {name!r}. Tags of {architecture}: {tags}."
            f" {_alternatives(architecture, tag)} To make one, train it with `dolg train"
            f" {'gldv2' if tag == 'gldv2' else 'CONFIG'} --architecture {architecture} -o FOLDER`,"
            " and publish it with `dolg publish FOLDER/preset USER/NAME`; DOLG.from_preset takes"
            " hf://USER/NAME."
        )
    return DOLG.from_preset(of_the_zoo(name))


def _alternatives(architecture: str, tag: str) -> str:
    if tag == "imagenet":
        return (
            'For a new head on a backbone trained on ImageNet, write backbone_weights="imagenet"'
            " instead of pretrained."
        )
    alike = [name for name in preset_names() if name.endswith(f"_{tag}")]
    if alike:
        return (
            f"No {tag} weights have been published for {architecture}; there are"
            f" {', '.join(alike)}."
        )
    return f"There are {', '.join(preset_names())}."


def _new(architecture: str, backbone_weights: str | None, overrides: dict[str, Any]) -> DOLG:
    if "backbone" in overrides:
        raise ValueError(
            f"dolg_{architecture} has the backbone {architecture}; for {overrides['backbone']!r}"
            f" call dolg_{overrides['backbone']}."
        )
    fetched = _fetched(architecture, backbone_weights)  # before the network is built
    converter = overrides.pop("image_converter", None)
    mean, std = (fetched.mean, fetched.std) if fetched else imagenet_normalization(architecture)
    values = {
        "input_shape": BACKBONES[architecture].input_shape,
        "mean": mean,
        "std": std,
        **overrides,
    }
    config = DOLGConfig.from_dict({**values, "backbone": architecture})
    metadata = {"name": f"dolg_{architecture}"}
    with to_be_filled() if fetched else nullcontext():
        net = DOLGNet(config=config)
        whole = build_backbone(architecture) if fetched and "P5" not in config.taps else None
    if fetched:
        load_timm_weights(fetched, net.backbone, whole)
        metadata["provenance"] = f"Backbone: {fetched.address}."
    elif backbone_weights and architecture in SHIPPED:
        _copy_embedded(architecture, net.backbone)
    elif backbone_weights:
        load_imagenet_weights(architecture, net.backbone)
    return DOLG(net, converter or _converter_for(config), metadata)


def _fetched(architecture: str, backbone_weights: str | None) -> TimmWeights | None:
    """Return the weights if they come from the Hub, else None."""
    if backbone_weights is None:
        return None
    if backbone_weights.startswith("hf://"):
        return fetch_timm_weights(architecture, backbone_weights)
    if backbone_weights != "imagenet":
        raise ValueError(
            'backbone_weights must be "imagenet", an address of the Hub such as'
            f" hf://timm/resnet50.a1_in1k, or None, got {backbone_weights!r}."
        )
    if architecture in SHIPPED:
        return None
    check_imagenet_source(architecture)
    repo = SOURCES[architecture].timm
    return fetch_timm_weights(architecture, f"hf://{repo}") if repo else None


def _copy_embedded(architecture: str, backbone: Any) -> None:
    trained = read_preset(
        resolve_preset(of_the_zoo(f"dolg_{architecture}_imagenet")).folder
    ).net.backbone
    weights = {weight.path: weight for weight in trained.weights}
    for weight in backbone.weights:
        weight.assign(weights[weight.path])


def _converter_for(config: DOLGConfig) -> ImageConverter:
    height, width, _ = config.input_shape
    if height and width:
        return ImageConverter(size=(height, width), mode="squash", interpolation="bicubic")
    return ImageConverter(size=256, mode="short_side", multiple_of=32, interpolation="bicubic")

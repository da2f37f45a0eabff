"""A backbone's ImageNet weights from a repository of timm on the Hugging Face Hub."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dolg_zoo.backbones.imagenet_sources import SOURCES
from dolg_zoo.checkpoints.porting import port_timm
from dolg_zoo.errors import PortingError, PresetError
from dolg_zoo.presets.files import read_json
from dolg_zoo.weights import fetch_repo, parse_hub_url, read_state_dict
from dolg_zoo.weights.manifest import CONFIG

if TYPE_CHECKING:
    import keras

FILE = "model.safetensors"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TimmWeights:
    """A verified weights file."""

    address: str  # hf://user/repo@commit
    file: Path
    mean: tuple[float, ...]  # red, green, blue, as in training; see `imagenet_normalization`
    std: tuple[float, ...]


def fetch_timm_weights(architecture: str, address: str) -> TimmWeights:
    """Download a backbone's weights from hf://user/repo[@revision] and check the Hub's hashes."""
    # timm's files are config.json and model.safetensors. ValueError: the address is malformed or
    # timm has no such backbone. PresetError: another architecture, or another config.json.
    source = SOURCES.get(architecture)
    if source is None or source.timm is None:
        fitting = ", ".join(name for name, source in SOURCES.items() if source.timm)
        raise ValueError(
            f"Weights of {address} cannot be put into {architecture}. Weights from the Hub fit"
            f" {fitting}."
        )
    repo, revision = parse_hub_url(address)
    snapshot = fetch_repo(repo, (CONFIG, FILE), revision=revision)
    address = f"hf://{repo}@{snapshot.commit}"
    config = read_json(snapshot.folder / CONFIG)
    expected = source.timm_architecture
    if config.get("architecture") != expected:
        raise PresetError(
            f"{address} has the architecture {config.get('architecture')!r:.80}, but"
            f" {architecture} needs {expected!r}."
        )
    mean, std = _normalization(config, address)
    logger.info("Weights of %s: %s", architecture, address)
    return TimmWeights(address, snapshot.folder / FILE, mean, std)


def load_timm_weights(
    weights: TimmWeights, backbone: keras.Model, whole: keras.Model | None = None
) -> None:
    """Load weights into a backbone; raise PresetError if a tensor is missing or does not fit."""
    # `whole` is the backbone with all levels, if the taps end before the last level: each tensor
    # of the file must belong to one of its layers.
    variables = (backbone if whole is None else whole).variables
    state = read_state_dict(weights.file)
    try:
        arrays = port_timm(state, {v.path: tuple(v.shape) for v in variables})
    except PortingError as error:
        raise PresetError(f"{weights.address}: {error}") from error
    for variable in backbone.variables:
        variable.assign(arrays[variable.path])


def _normalization(config: Mapping[str, Any], address: str) -> list[tuple[float, ...]]:
    """Return the mean and the standard deviation that the weights were trained with."""
    settings = config.get("pretrained_cfg")
    values = [
        settings.get(key) if isinstance(settings, Mapping) else None for key in ("mean", "std")
    ]
    for value, least in zip(values, (0.0, 1e-3), strict=True):
        if not (
            isinstance(value, list)
            and len(value) == 3
            and all(type(part) in (int, float) and least <= part <= 1 for part in value)
        ):
            raise PresetError(
                f"{CONFIG} of {address} does not state the normalisation of the images:"
                " pretrained_cfg must have mean and std, three numbers from 0 to 1 each."
            )
    return [tuple(map(float, value)) for value in values if value]

"""A backbone's ImageNet weights from one of timm's repositories on the Hugging Face Hub."""

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
    mean: tuple[float, ...]  # of red, green, blue in training; see `imagenet_normalization`
    std: tuple[float, ...]


def fetch_timm_weights(architecture: str, address: str) -> TimmWeights:
    """Download a backbone's weights from hf://user/repo[@revision] and check the Hub's hashes."""
    # timm's form: config.json and model.safetensors. ValueError: malformed address, or timm has no
    # weights for the backbone. PresetError: another architecture, or not timm's config.json.
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
    wanted = source.timm_architecture
    if config.get("architecture") != wanted:
        raise PresetError(
            f"{address} is of the architecture {config.get('architecture')!r:.80}, and"
            f" {architecture} takes {wanted!r}."
        )
    mean, std = _normalization(config, address)
    logger.info("Weights of %s: %s", architecture, address)
    return TimmWeights(address, snapshot.folder / FILE, mean, std)


def load_timm_weights(
    weights: TimmWeights, backbone: keras.Model, whole: keras.Model | None = None
) -> None:
    """Load weights into a backbone; a PresetError says what differs."""
    # `whole` is the backbone up to its last level, if the taps leave out its end: each tensor of
    # the file must belong to a layer
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
    stated = config.get("pretrained_cfg")
    values = [stated.get(key) if isinstance(stated, Mapping) else None for key in ("mean", "std")]
    for value, least in zip(values, (0.0, 1e-3), strict=True):
        if not (
            isinstance(value, list)
            and len(value) == 3
            and all(type(part) in (int, float) and least <= part <= 1 for part in value)
        ):
            raise PresetError(
                f"{CONFIG} of {address} does not say what its weights were trained with:"
                " pretrained_cfg must have mean and std, three numbers from 0 to 1 each."
            )
    return [tuple(map(float, value)) for value in values if value]

"""The facts that a preset's files state, as data and in words; read without Keras."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dolg_zoo.errors import PresetError
from dolg_zoo.models import DOLGConfig
from dolg_zoo.preprocessing import ImageConverter
from dolg_zoo.preprocessing.converter import MAX_ASPECT
from dolg_zoo.presets.files import check_preset, read_description
from dolg_zoo.presets.origins import ResolvedPreset
from dolg_zoo.weights.manifest import (
    CONFIG,
    MARGIN_HEAD,
    PRESET_FILES,
    WEIGHTS,
    PresetEntry,
)


def preset_facts(resolved: ResolvedPreset) -> dict[str, Any]:
    """Return the facts about a preset from its files and the manifest, as JSON values."""
    entry, folder = resolved.entry, resolved.folder
    description = read_description(folder)
    if not resolved.sha256:
        check_preset(folder)
    metadata = {**description.metadata, **resolved.metadata}
    sha256 = metadata.get("sha256", {})
    if isinstance(entry, PresetEntry):  # a converted preset was made on this machine
        sha256 = {name: file.sha256 for name, file in entry.files.items()}
    files = {*PRESET_FILES, *sha256} & {path.name for path in folder.iterdir()}
    keys = ("limits", "description", "dataset", "license", "license_note", "provenance")
    facts = {
        "preset": resolved.name,
        "architecture": description.config.to_dict(),
        "backbone_layers": _layers(description.backbone, folder / CONFIG),
        "parameters": count_parameters(folder / WEIGHTS),
        "bytes": sum((folder / name).stat().st_size for name in files),
        "margin_head": MARGIN_HEAD in files,
        "input": description.image_converter.to_config(),
        "sha256": sha256,
        "limits": "",
        "source": None,
        "figures": [],
        **{key: metadata.get(key, "") for key in keys},
        **(entry.metadata() if entry else {}),
    }
    facts.pop("name", None)  # equal to `preset`
    return facts


def _layers(backbone: Mapping[str, Any] | None, path: Path) -> int | None:
    """Return the number of layers of a custom backbone; None for a backbone of the zoo."""
    try:
        return None if backbone is None else len(backbone["config"]["layers"])
    except (TypeError, KeyError) as error:
        raise PresetError(f"{path}: {error}") from error


def count_parameters(path: Path) -> int:
    """Return the number of floats in a weights file; random generators' states are integers."""
    import h5py

    sizes = []

    def add(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind == "f":
            sizes.append(math.prod(item.shape))

    try:
        with h5py.File(path) as file:
            file.visititems(add)
    except (OSError, RuntimeError) as error:
        raise PresetError(f"{path} is no Keras weights file: {error}") from error
    return sum(sizes)


def head_in_words(config: DOLGConfig) -> Iterator[tuple[str, str]]:
    """Yield the parts of a network after its backbone: name and description."""
    dilations = ", ".join(map(str, config.dilation_rates)) or "none (no multi-atrous module)"
    pointwise = " and a 1×1 branch" if config.dilation_rates and config.atrous_pointwise else ""
    start = "fixed at" if config.gem_power == "fixed" else "learned, started from"
    learned = ", one for each channel" if config.gem_power == "channel" else ""
    whitened = f", whitened from {config.descriptor_dim}" if config.whitened_dim else ""
    yield "Dilations", dilations + pointwise
    yield "Channels", f"{config.hidden_dim} of the local map and the global vector"
    yield (
        "Attention",
        f"one weight per {'position' if config.attention_channels == 1 else 'channel'}",
    )
    yield "GeM", f"exponent p {start} {config.gem_p:g}{learned}"
    yield "Descriptor", f"{config.output_dim} dimensions{whitened}"


def preprocessing_in_words(converter: ImageConverter) -> Iterator[tuple[str, str]]:
    """Yield the steps from an image file to the network's input: name and description."""
    size = converter.size
    square = f"{size}×{size}" if isinstance(size, int) else "×".join(map(str, size or ()))
    yield "Colours", "RGB, the photograph turned upright as its EXIF data say"
    yield (
        "Resized",
        {
            "squash": f"to {square} pixels (height×width), whatever its aspect ratio",
            "short_side": f"so that its short side has {size} pixels; the aspect ratio is kept, up"
            f" to {MAX_ASPECT} : 1",
            "long_side": f"so that its long side has {size} pixels; the aspect ratio is kept",
            "max_side": f"only if its long side has more than {size} pixels, then to that; the"
            " aspect ratio is kept",
            "original": "not at all: it keeps its own size",
        }[converter.mode],
    )
    antialias = "with" if converter.antialias else "without"
    yield "Resampling", f"{converter.interpolation}, {antialias} antialias"
    step = converter.multiple_of
    yield "Sides", f"multiples of {step} pixels" if step > 1 else "any"
    several = "; the descriptor is the normalised mean of the normalised ones at each"
    scales = ", ".join(f"{scale:g}" for scale in converter.scales)
    yield "Scales", scales + (several if len(converter.scales) > 1 else "")
    if converter.crop_queries:
        yield "Queries", "in benchmarks, cropped to the box of the landmark"

"""Cost and available weights of each `dolg_<backbone>()`, as plain data without a framework.

`tools/update_constructors.py` writes the file of figures.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from dolg_zoo.backbones.imagenet_sources import SOURCES
from dolg_zoo.backbones.registry import BACKBONES, Source
from dolg_zoo.presets import preset_tags

SIZE = 256
"""Height and width in pixels of the image for which multiply-adds are counted."""
SIZES_FILE = Path(__file__).with_name("constructor_sizes.json")


@dataclass(frozen=True)
class ConstructorEntry:
    """The figures of a constructor that is called without arguments."""

    name: str  # such as "dolg_resnet50"
    taps: tuple[str, str]
    channels: tuple[int, int]  # of the local and the global map
    parameters: int  # of backbone and head, trained or not
    multiply_adds: int  # of convolutions and matrix products, for one image of 256×256 pixels
    imagenet: str | None  # the source of the backbone's ImageNet weights
    pretrained: tuple[str, ...]  # tags of the presets over the backbone

    @property
    def bytes(self) -> int:
        """The size of the weights in float32."""
        return 4 * self.parameters


def list_constructors() -> list[ConstructorEntry]:
    """Return an entry for each backbone, in the order of `BACKBONES`."""
    sizes = json.loads(SIZES_FILE.read_text(encoding="utf-8"))
    return [
        ConstructorEntry(
            name=f"dolg_{name}",
            taps=("P4", "P5"),
            channels=tuple(sizes[name]["channels"]),
            parameters=sizes[name]["parameters"],
            multiply_adds=sizes[name]["multiply_adds"],
            imagenet=_origin(SOURCES.get(name)),
            pretrained=tuple(preset_tags(name)),
        )
        for name in BACKBONES
    ]


def _origin(source: Source | None) -> str | None:
    if source is None:
        return None
    if source.is_shipped:
        return "in the package"
    if source.timm:
        return f"hf://{source.timm}"
    if source.kaggle_preset:
        return f"Kaggle: {source.kaggle_preset}"
    return f"keras.applications.{source.application}"

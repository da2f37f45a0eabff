"""Presets: their names, and the folders that they are kept in."""

from dolg_zoo.presets.conversion import Conversion, convert_checkpoint
from dolg_zoo.presets.errors import PresetError
from dolg_zoo.presets.folder import Preset, read_margin_head, read_preset, write_preset
from dolg_zoo.presets.margin_head import margin_head_of
from dolg_zoo.presets.registry import (
    DEFAULT_PRESET,
    fetch_margin_head,
    load_margin_head,
    load_preset,
    locate_preset,
    preset_names,
    preset_tags,
)

__all__ = [
    "DEFAULT_PRESET",
    "Conversion",
    "Preset",
    "PresetError",
    "convert_checkpoint",
    "fetch_margin_head",
    "load_margin_head",
    "load_preset",
    "locate_preset",
    "margin_head_of",
    "preset_names",
    "preset_tags",
    "read_margin_head",
    "read_preset",
    "write_preset",
]

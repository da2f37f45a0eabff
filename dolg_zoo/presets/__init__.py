"""Presets: whole networks with preprocessing and weights, by name or in a folder."""

from dolg_zoo.presets.errors import PresetError
from dolg_zoo.presets.folder import Preset, read_preset, write_preset
from dolg_zoo.presets.registry import DEFAULT_PRESET, locate_preset, preset_names, preset_tags

__all__ = [
    "DEFAULT_PRESET",
    "Preset",
    "PresetError",
    "locate_preset",
    "preset_names",
    "preset_tags",
    "read_preset",
    "write_preset",
]

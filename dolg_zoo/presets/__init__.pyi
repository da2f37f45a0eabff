from .conversion import Conversion, convert_checkpoint
from .folder import Preset, read_margin_head, read_preset, write_preset
from .margin_head import margin_head_of
from .registry import (
    DEFAULT_PRESET,
    PresetError,
    fetch_margin_head,
    hashes_of,
    list_presets,
    load_margin_head,
    load_preset,
    preset_names,
    preset_tags,
    resolve_preset,
)

__all__ = [
    "DEFAULT_PRESET",
    "Conversion",
    "Preset",
    "PresetError",
    "convert_checkpoint",
    "fetch_margin_head",
    "hashes_of",
    "list_presets",
    "load_margin_head",
    "load_preset",
    "margin_head_of",
    "preset_names",
    "preset_tags",
    "read_margin_head",
    "read_preset",
    "resolve_preset",
    "write_preset",
]

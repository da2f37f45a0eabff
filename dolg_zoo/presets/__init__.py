"""Presets: their names, and the folders that they are kept in.

The names below are imported when they are first used: to find a preset takes no Keras.
"""

from __future__ import annotations

from importlib import import_module

_HOMES = {
    "Conversion": "conversion",
    "DEFAULT_PRESET": "registry",
    "Preset": "folder",
    "PresetError": "errors",
    "convert_checkpoint": "conversion",
    "fetch_margin_head": "registry",
    "hashes_of": "registry",
    "load_margin_head": "registry",
    "load_preset": "registry",
    "locate_preset": "registry",
    "margin_head_of": "margin_head",
    "preset_names": "registry",
    "preset_tags": "registry",
    "read_margin_head": "folder",
    "read_preset": "folder",
    "write_preset": "folder",
}

__all__ = [*_HOMES]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

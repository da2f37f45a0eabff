"""dolg-zoo: pretrained DOLG image-retrieval models in Keras 3.

The names below are imported when they are first used, so that `import dolg_zoo` costs nothing.
"""

from __future__ import annotations

from importlib import import_module

from dolg_zoo.backbones.registry import BACKBONES

__version__ = "0.1.0"

_HOMES = {
    "BadImageError": "preprocessing",
    "BadImagesError": "image_embedder",
    "CompilationError": "runtimes",
    "CompiledDOLG": "compiled",
    "Crop": "preprocessing",
    "DOLG": "dolg",
    "DOLGConfig": "models",
    "DOLGNet": "models",
    "ImageConverter": "preprocessing",
    "PresetError": "presets",
    "PublishError": "publishing",
    "RuntimeMissingError": "runtimes",
    "push_to_hub": "publishing",
    "two_taps": "backbones",
}
_MODULES = (
    "backbones",
    "evaluation",
    "layers",
    "models",
    "preprocessing",
    "presets",
    "publishing",
    "retrieval",
    "runtimes",
    "training",
    "weights",
)
_CONSTRUCTORS = {f"dolg_{name}": name for name in BACKBONES}

__all__ = [*_HOMES, *_MODULES, *_CONSTRUCTORS]


def __getattr__(name: str):
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name in _CONSTRUCTORS:
        value = import_module(f"{__name__}.constructors").constructor(_CONSTRUCTORS[name])
    elif name in _HOMES:
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Presets: names, folders and files. Submodules are imported at first use, Keras only if needed."""

from dolg_zoo._util.imports import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)

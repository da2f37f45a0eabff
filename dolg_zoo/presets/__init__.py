"""Presets: their names, and the folders that hold them; imported at first use, without Keras."""

from dolg_zoo._util.imports import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)

"""Presets: their names, and the folders that hold them.

`__init__.pyi` lists the public names. Each is imported when it is first used: finding a preset
needs no Keras.
"""

from dolg_zoo._util.imports import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)

"""The network from an image tensor to a descriptor, and its training form; imported lazily."""

from dolg_zoo._util.imports import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)

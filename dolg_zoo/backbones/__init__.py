"""Networks from images to the two feature maps of DOLG; imported at first use."""

from dolg_zoo._util.imports import attach_stub

# No submodule may have the name of a function here: importing it would hide the function.
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)

"""Fine-tuning and training of DOLG models; imported at first use."""

from dolg_zoo._util.imports import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)

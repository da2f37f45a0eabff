"""Fine-tuning and training of DOLG models.

`__init__.pyi` lists the public names. Each is imported when it is first used: a configuration and
its data are checked without TensorFlow.
"""

from dolg_zoo._util.imports import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)

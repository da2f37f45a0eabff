"""Fine-tuning and training of DOLG models.

`__init__.pyi` lists the public names. Each is imported when it is first used: a configuration and
its data are checked without TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

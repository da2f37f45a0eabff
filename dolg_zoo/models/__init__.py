"""The network: image tensor in, descriptor out; and what it is trained as.

`__init__.pyi` lists the public names. Each is imported when it is first used: the configuration of
a network needs no Keras.
"""

from dolg_zoo._util.imports import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)

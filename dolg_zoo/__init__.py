"""dolg-zoo: pretrained DOLG image-retrieval models in Keras 3.

`__init__.pyi` lists the public names. Each is imported when it is first used, so that
`import dolg_zoo` loads no framework.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

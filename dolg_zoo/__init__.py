"""dolg-zoo: pretrained DOLG image-retrieval models in Keras 3.

`__init__.pyi` lists the public names. Each is imported at first use: no framework loads before.
"""

import sys

from dolg_zoo._util.imports import DocstringFinder, attach_stub

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)

if sys.flags.optimize > 1:
    sys.meta_path.insert(0, DocstringFinder)

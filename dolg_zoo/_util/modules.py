"""Which packages are installed, without importing them."""

import importlib.util


def is_installed(module: str) -> bool:
    """Return whether a package can be imported.

    A folder of that name alone is none: Python would import it as a package without content. It may
    be a folder of photographs in the current directory, or what an uninstalled package left behind.
    """
    spec = importlib.util.find_spec(module)
    return spec is not None and spec.origin is not None

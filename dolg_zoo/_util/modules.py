"""Find installed packages without importing them."""

import importlib.util


def is_installed(module: str) -> bool:
    """Return whether a package can be imported."""
    # Python would also import a folder of that name without __init__.py, but it may hold
    # photographs or leftovers of an uninstalled package.
    spec = importlib.util.find_spec(module)
    return spec is not None and spec.origin is not None

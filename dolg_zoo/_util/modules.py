"""Which packages are installed, without importing them."""

import importlib.util


def is_installed(module: str) -> bool:
    """Return whether a package can be imported."""
    # A mere folder of that name is no package, though Python imports one: it may hold photographs,
    # or be left over from an uninstalled package.
    spec = importlib.util.find_spec(module)
    return spec is not None and spec.origin is not None

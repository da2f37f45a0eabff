"""Import packages, and report a failed import as `DependencyError`.

An import may raise any error: TensorFlow a TypeError under `python -OO`, protobuf an
AttributeError. A caller that reads a file would otherwise blame the file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from traceback import walk_tb
from types import CodeType
from typing import Any

import lazy_loader

from dolg_zoo.errors import DependencyError


def attach_stub(package: str, file: str) -> tuple[Callable[[str], Any], Any, list[str]]:
    """Return `__getattr__`, `__dir__` and `__all__` for a package that imports names lazily."""
    get, names, public = lazy_loader.attach_stub(package, file)

    def attribute(name: str) -> Any:
        with import_errors_reported():
            return get(name)

    return attribute, names, public


@contextmanager
def import_errors_reported() -> Iterator[None]:
    """Replace any error in the import of another package by a `DependencyError`."""
    try:
        yield
    except Exception as error:
        fault = import_fault(error)
        if fault is None or fault is error:
            raise
        raise fault from error


def import_fault(error: Exception) -> DependencyError | None:
    """Return a `DependencyError` if the error was raised in the import of a package."""
    if isinstance(error, DependencyError):
        return error
    package = _imported(error)
    if package is None:
        return None
    said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    running = (frame.f_globals.get("__name__") for frame, _ in walk_tb(error.__traceback__))
    if shadow := _shadowing([package, *map(str, running), *sys.modules]):
        name, file = shadow
        return DependencyError(
            f"{package} cannot be imported ({said}): Python imports {file} as {name}. Rename it."
        )
    return DependencyError(
        f"{package} cannot be imported ({said}). The fault is in this Python environment, not in"
        f" your files: {_remedy(package)}"
    )


def _shadowing(names: Iterable[str]) -> tuple[str, str] | None:
    """Return the first module that a file in the user's folder hides, and that file."""
    own_folders = {os.path.abspath(sys.path[0]), os.getcwd()}  # noqa: PTH100, PTH109
    others = [place for place in sys.path if os.path.abspath(place) not in own_folders]  # noqa: PTH100
    for name in dict.fromkeys(name.partition(".")[0] for name in names):
        spec = getattr(sys.modules.get(name), "__spec__", None) or PathFinder.find_spec(name)
        file = Path(spec.origin or "") if spec else Path()
        folder = file.parents[file.stem == "__init__"] if file.name else file
        if str(folder) in own_folders and name != "dolg_zoo" and PathFinder.find_spec(name, others):
            return name, str(file)
    return None


def _imported(error: Exception) -> str | None:
    """Return the package that we imported when the error was raised."""
    for frame, _ in walk_tb(error.__traceback__):
        module = str(frame.f_globals.get("__name__"))
        package = module.partition(".")[0]
        is_import = frame.f_code.co_name == "<module>"
        if is_import and package not in ("dolg_zoo", "__main__", *sys.stdlib_module_names):
            return package
    if isinstance(error, ImportError) and error.name:
        package = error.name.partition(".")[0]
        return None if package == "dolg_zoo" else package
    return None


def _remedy(package: str) -> str:
    config = sys.modules.get("keras.src.backend.config")  # loaded even if Keras failed
    backend = os.environ.get("KERAS_BACKEND") or (config.backend() if config else "tensorflow")
    if package in ("keras", "keras_cv") and backend != "tensorflow":
        return (
            f'Keras is set to {backend!r}; set KERAS_BACKEND=tensorflow, or "backend" in'
            " ~/.keras/keras.json."
        )
    return (
        "install dolg-zoo into a new environment, or `python -m pip install --force-reinstall"
        " dolg-zoo`."
    )


class _WithDocstrings(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        """Compile the module with docstrings; the result is not cached."""
        path = self.get_filename(fullname)
        return compile(self.get_data(path), path, "exec", dont_inherit=True, optimize=0)


class DocstringFinder:
    """Import finder for frameworks that edit their own docstrings, which `python -OO` removes."""

    # without it, TensorFlow 2.20, TensorFlow Text and keras-cv 0.9 fail under -OO

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Find a module of these frameworks, and have it compiled with docstrings."""
        if name.partition(".")[0] not in ("tensorflow", "tensorflow_text", "keras", "keras_cv"):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _WithDocstrings(spec.loader.name, spec.loader.path)
        return spec

"""The stubs that editors and type checkers read name what there is."""

import ast
import importlib
from pathlib import Path

import pytest

import dolg_zoo

PACKAGE = Path(dolg_zoo.__file__).parent
LAZY = (
    "dolg_zoo",
    "dolg_zoo.backbones",
    "dolg_zoo.models",
    "dolg_zoo.presets",
    "dolg_zoo.training",
)
CONSTRUCTORS = {f"dolg_{name}" for name in dolg_zoo.BACKBONES}


def statements(stub):
    return ast.parse((PACKAGE / stub).read_text()).body


@pytest.mark.parametrize("package", LAZY)
def test_each_name_of_a_stub_is_there(package):
    module = importlib.import_module(package)
    stub = statements(Path(*package.split(".")[1:], "__init__.pyi"))
    imported = {a.name for node in stub if isinstance(node, ast.ImportFrom) for a in node.names}
    (listed,) = (ast.literal_eval(n.value) for n in stub if isinstance(n, ast.Assign))
    assert set(listed) == imported == set(module.__all__)
    assert all(getattr(module, name) is not None for name in imported)
    with pytest.raises(AttributeError, match="no_such_name"):
        module.no_such_name  # noqa: B018


def test_the_stubs_have_a_constructor_for_each_backbone():
    declared = {
        n.target.id
        for n in statements("embedders/constructors.pyi")
        if isinstance(n, ast.AnnAssign)
    }
    assert declared == CONSTRUCTORS
    assert {name for name in dolg_zoo.__all__ if name.startswith("dolg_")} == CONSTRUCTORS


POSIX = {"resource", "fcntl", "pwd", "grp", "termios", "pty", "posix", "syslog"}


def test_no_module_needs_what_only_posix_has_to_be_imported():
    """What a function needs is for mypy --platform win32 to see, in `.ci/run`."""
    for path in PACKAGE.rglob("*.py"):
        top = ast.parse(path.read_text()).body
        named = {a.name for node in top if isinstance(node, ast.Import) for a in node.names}
        named |= {str(node.module) for node in top if isinstance(node, ast.ImportFrom)}
        assert not named & POSIX, path

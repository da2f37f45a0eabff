"""The stubs that editors and type checkers read name what there is."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import dolg_zoo

PACKAGE = Path(dolg_zoo.__file__).parent
LAZY = ("dolg_zoo", "dolg_zoo.backbones", "dolg_zoo.presets")
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


CODE = """
import dolg_zoo
reveal_type(dolg_zoo.DOLG)
reveal_type(dolg_zoo.dolg_resnet50(pretrained="gldv2"))
reveal_type(dolg_zoo.presets.read_preset("folder"))
dolg_zoo.no_such_name
dolg_zoo.dolg_resnet50(pretrained=1)
"""


@pytest.mark.slow
def test_a_type_checker_sees_the_types(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "code.py").write_text(CODE)
    command = [sys.executable, "-m", "mypy", "--follow-imports=silent", "--ignore-missing-imports"]
    done = subprocess.run([*command, "code.py"], cwd=tmp_path, capture_output=True, text=True)
    said = [line.split(": ", 2) for line in done.stdout.splitlines() if line.startswith("code.py")]
    by_line = {int(where.split(":")[1]): text for where, _, text in said}
    assert "image_converter: dolg_zoo." in by_line[3]  # the arguments of the class
    assert by_line[4].endswith('dolg.DOLG"')
    assert by_line[5].endswith('"dolg_zoo.presets.folder.Preset"')
    assert "no_such_name" in by_line[6] and "int" in by_line[7]

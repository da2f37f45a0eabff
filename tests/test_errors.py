"""One base class for all errors that a user can meet, and the built-in type that each also is."""

import ast
import pickle
from pathlib import Path

import numpy as np
import pytest

import dolg_zoo
from dolg_zoo import errors

BUILTIN = {
    ValueError: [
        *("BadImageError", "BadImagesError", "CheckpointError", "DataError", "ExportError"),
        *("GroundTruthError", "ManifestError", "PortingError", "PresetError"),
        *("RuntimeMissingError", "StoreError", "TrainingConfigError"),
    ],
    RuntimeError: ["CompilationError", "ForkedProcessError", "RayError", "WorkerLostError"],
    ArithmeticError: ["DivergedError"],
    ImportError: ["ExtraMissingError"],
}


@pytest.mark.parametrize(
    ("builtin", "name"), [(kind, name) for kind, names in BUILTIN.items() for name in names]
)
def test_an_error_is_also_of_a_builtin_type(builtin, name):
    assert issubclass(getattr(errors, name), builtin)


@pytest.mark.parametrize("name", errors.__all__)
def test_one_clause_catches_all(name):
    assert issubclass(getattr(errors, name), errors.DOLGZooError)


def test_no_other_module_has_errors_of_its_own():
    package = Path(dolg_zoo.__file__).parent
    found = {
        (path.name, node.name)
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and node.name.endswith("Error")
    }
    elsewhere = {(file, name) for file, name in found if file != "errors.py" and name[0] != "_"}
    # what is wrong with a file, in words that a CheckpointError then puts the file's name before
    assert {file for file, _ in elsewhere} == {"faults.py"}
    assert {name for file, name in found if file == "errors.py"} == set(errors.__all__)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("preprocessing", "BadImageError"),
        ("presets", "PresetError"),
        ("publishing", "PublishError"),
        ("runtimes", "RuntimeMissingError"),
        ("weights", "DownloadError"),
    ],
)
def test_an_error_can_still_be_imported_from_where_it_was(module, name):
    assert getattr(getattr(dolg_zoo, module), name) is getattr(errors, name)


def test_an_error_with_more_than_a_message_reaches_another_process_whole():
    bad = errors.BadImageError("a.jpg", "it is empty")
    sent = pickle.loads(pickle.dumps(errors.BadImagesError({1: bad}, [0], np.ones((1, 2), "f"))))
    assert (sent.kept, sent.skipped[1].source, sent.descriptors.shape) == ([0], "a.jpg", (1, 2))
    assert "a.jpg" in str(sent)

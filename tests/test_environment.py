"""What keeps a package from being imported is told as that, and is no fault of a file."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bounds import DEEP_DESCRIPTOR

from dolg_zoo.shipped_photos import shipped_photos

ROOT = Path(__file__).parents[1]
PHOTO = str(shipped_photos()[0])
EMBED = f"import dolg_zoo; print(dolg_zoo.DOLG.from_preset().embed({PHOTO!r}).tolist())"
SEARCH = ("search", "photos", "-q", PHOTO, "--runtime", "keras")
RAISED = [
    ("keras", "AttributeError", "'NoneType' object has no attribute 'split'"),
    ("tensorflow", "ImportError", "cannot import name 'x' from 'y'"),
    ("h5py", "ValueError", "numpy.dtype size changed"),
]


@pytest.fixture
def run(tmp_path):
    """Run Python with a first folder on its path, in a folder with a folder of photographs."""
    (tmp_path / "photos").mkdir()
    shutil.copy(PHOTO, tmp_path / "photos")

    def run(*args, **env):
        env = {"DOLG_ZOO_CACHE": str(tmp_path / "cache"), **env}
        path = os.pathsep.join([str(tmp_path / "path"), str(ROOT)])
        return subprocess.run(
            [sys.executable, *args],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path, **env},
            capture_output=True,
            text=True,
        )

    return run


def broken(tmp_path, package, code):
    (tmp_path / "path" / package).mkdir(parents=True)
    (tmp_path / "path" / package / "__init__.py").write_text(code)


def dolg(*args):
    return "-c", "from dolg_zoo.cli import main; main()", *args


@pytest.mark.parametrize(("package", "kind", "said"), RAISED)
def test_a_package_that_cannot_be_imported_is_named_in_the_shell(
    package, kind, said, run, tmp_path
):
    broken(tmp_path, package, f"raise {kind}({said!r})")
    done = run(*dolg(*SEARCH))
    lines = [line for line in done.stderr.splitlines() if line.startswith("dolg: ")]
    assert done.returncode == 1 and len(lines) == 1
    assert "cannot be imported" in lines[0] and said in lines[0] and "pip install" in lines[0]
    assert "config.json" not in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "code",
    [
        "import dolg_zoo; dolg_zoo.DOLG",
        "from dolg_zoo import DOLG",
        "from dolg_zoo.models import DOLGNet",
        "from dolg_zoo.presets import read_preset",
        pytest.param("from dolg_zoo.training import train", marks=pytest.mark.slow),
        pytest.param("from dolg_zoo.backbones import build_backbone", marks=pytest.mark.slow),
    ],
)
def test_a_package_that_cannot_be_imported_is_named_in_python(code, run, tmp_path):
    broken(tmp_path, "keras", "None.split()")
    last = run("-c", code).stderr.splitlines()[-1]
    assert last.startswith("dolg_zoo.errors.DependencyError: keras cannot be imported")


def test_another_backend_of_keras_is_named(run):
    done = run("-c", "import dolg_zoo; dolg_zoo.DOLG", KERAS_BACKEND="jax")
    assert "KERAS_BACKEND" in done.stderr.splitlines()[-1]


@pytest.fixture
def of_keras_cv(tmp_path):
    """A preset whose backbone keras-cv builds; no more than its description."""
    from dolg_zoo._util.hashing import sha256_of
    from dolg_zoo.presets.registry import resolve_preset

    folder = tmp_path / "preset"
    shutil.copytree(resolve_preset().folder, folder)
    config = json.loads((folder / "config.json").read_text())
    config["dolg"]["backbone"] = "efficientnet_b0"
    (folder / "config.json").write_text(json.dumps(config))
    metadata = json.loads((folder / "metadata.json").read_text())
    metadata["sha256"]["config.json"] = sha256_of(folder / "config.json")
    (folder / "metadata.json").write_text(json.dumps(metadata))
    return folder


def test_keras_cv_that_cannot_be_imported_is_no_fault_of_the_preset(
    of_keras_cv, tmp_path, monkeypatch
):
    from dolg_zoo import errors, presets

    broken(tmp_path, "keras_cv", "raise TypeError('too old')")
    monkeypatch.delitem(sys.modules, "keras_cv", raising=False)
    monkeypatch.syspath_prepend(tmp_path / "path")
    with pytest.raises(errors.DependencyError, match=r"keras_cv cannot .* \(TypeError: too old\)"):
        presets.read_preset(of_keras_cv)


@pytest.mark.slow
def test_without_docstrings_the_default_loads_without_keras_cv_and_that_is_imported_too(
    run, tmp_path
):
    broken(tmp_path, "keras_cv", "raise ImportError('it is not needed')")
    path = str(tmp_path / "path")
    build = "dolg_zoo.backbones.build_backbone('resnet18_v1')"
    done = run("-OO", "-c", f"{EMBED}; import sys; sys.path.remove({path!r}); {build}")
    assert done.returncode == 0, done.stderr
    from dolg_zoo import DOLG

    np.testing.assert_allclose(
        json.loads(done.stdout.splitlines()[-1]),
        DOLG.from_preset().embed(PHOTO),
        atol=DEEP_DESCRIPTOR,
    )

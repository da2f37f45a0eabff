"""The conversion tools as a user runs them, on files that upstream's framework has written."""

import importlib.util
import io
import json
import os
import pickle
import re
import runpy
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import _conversion
import numpy as np
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
WRITE = ROOT / "tests" / "support" / "write_checkpoint.py"


class Model(NamedTuple):
    tool: str
    framework: str
    keys: str
    suffix: str
    tensors: int


MODELS = {
    "r50": Model("convert_official_pytorch", "torch", "official_pytorch_keys", ".pyth", 334),
    "paddle": Model("convert_official_paddle", "paddle", "official_paddle_keys", ".pdparams", 277),
    # of as many layers as r50, which is enough to run the tool
    "dongkyuk": Model("convert_dongkyuk_pytorch", "torch", "dongkyuk_pytorch_keys", ".ckpt", 284),
}
FILES = {"config.json", "metadata.json", "model.weights.h5", "preprocessor.json", "report.json"}


def needs(framework):
    if importlib.util.find_spec(framework) is None:
        pytest.skip(f"needs {framework}")


def run_here(model, *arguments):
    """Run a tool in this process, which spares it the imports."""
    tool = ROOT / "tools" / f"{MODELS[model].tool}.py"
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr("sys.argv", [str(tool), *map(str, arguments)])
        try:
            runpy.run_path(str(tool), run_name="__main__")
        except SystemExit as end:
            code = end.code
    return SimpleNamespace(code=code, out=out.getvalue(), err=err.getvalue())


@pytest.fixture
def small_image_only(monkeypatch):
    monkeypatch.setattr(_conversion, "SIZES", [(64, 31)])


@pytest.fixture(scope="module")
def checkpoint(golden, shared, tmp_path_factory):
    """A model's checkpoint, written once by its framework."""
    written = {}

    def checkpoint(model):
        about = MODELS[model]
        needs(about.framework)
        if model not in written:
            path = tmp_path_factory.mktemp(model) / f"upstream{about.suffix}"
            keys = shared / "golden" / f"{about.keys}.json"
            form = about.suffix.removeprefix(".")
            name = "dongkyuk_50" if model == "dongkyuk" else model
            command = [WRITE, shared / "golden" / "fill.py", keys, name, form, path]
            subprocess.run([sys.executable, *command], check=True)
            written[model] = path
        return written[model]

    yield checkpoint
    for path in written.values():
        path.unlink()


def in_a_process_of_its_own(model, *arguments):
    """Run a tool as a user does."""
    ended = subprocess.run(
        [sys.executable, ROOT / "tools" / f"{MODELS[model].tool}.py", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return SimpleNamespace(code=ended.returncode, out=ended.stdout, err=ended.stderr)


@pytest.fixture(scope="module", params=MODELS)
def converted(request, checkpoint, tmp_path_factory):
    """A tool's run that ended well; of one a process of its own, with images of all sizes."""
    model = request.param
    path, out = checkpoint(model), tmp_path_factory.mktemp("out") / "dolg_mine"
    options = ["--license", "MIT", "--provenance", "trained by me"]
    run = in_a_process_of_its_own if model == "r50" else run_here
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_conversion, "SIZES", [(96, 131), (64, 31)])
        ended = run(model, path, "--out", out, *options)
    assert ended.code == 0, ended
    return SimpleNamespace(model=model, path=path, out=out, printed=ended.out)


@pytest.mark.parametrize("model", MODELS)
def test_the_documents_name_the_command_and_the_form_of_the_file(model):
    page = (ROOT / "docs" / "port_a_checkpoint.md").read_text()
    command = rf"^python tools/{MODELS[model].tool}\.py (\S+) --out \S+$"
    (example,) = re.findall(command, page, re.MULTILINE)
    assert Path(example).suffix == MODELS[model].suffix


def test_writes_a_preset_that_loads(converted, golden):
    from dolg_zoo.presets import read_margin_head, read_preset

    preset = read_preset(converted.out)
    if converted.model == "r50":
        expected = golden.read("official_pytorch")["r50"]["224x224"]["descriptor"]
        found = preset.net(golden.image(224, 224)[None])[0]
        assert np.allclose(found, expected, atol=2e-5 * np.abs(expected).max())
    with_head = {"margin_head.npz"} if converted.model != "paddle" else set()
    assert {path.name for path in converted.out.iterdir()} == FILES | with_head
    if with_head:
        assert read_margin_head(converted.out).num_classes == 1000


def test_the_preset_says_where_it_is_from(converted):
    metadata = json.loads((converted.out / "metadata.json").read_text())
    assert (metadata["name"], metadata["license"]) == ("dolg_mine", "MIT")
    assert metadata["provenance"] == "trained by me"
    assert metadata["source"]["file"] == converted.path.name
    assert metadata["source"]["sha256"] == sha256_by_the_system(converted.path)


def test_the_report_says_what_was_compared(converted):
    report = json.loads((converted.out / "report.json").read_text())
    assert report["source"] == converted.path.name
    assert report["source_sha256"] == sha256_by_the_system(converted.path)
    assert report["source_size"] == converted.path.stat().st_size
    assert report["tensors"] == MODELS[converted.model].tensors
    assert 0 < report["largest_difference"] <= report["tolerance"] == 2e-5
    assert max(report["differences"].values()) == report["largest_difference"]
    kinds = {what.split(" ")[0] for what in report["differences"]}
    logits = {"logits"} if converted.model != "paddle" else set()
    assert kinds == {"descriptor", "local", "global", "attention"} | logits
    sizes = 4 if converted.model == "r50" else 2
    assert len(report["differences"]) == sizes * len(kinds)
    framework = MODELS[converted.model].framework
    assert report["reference"].startswith(f"{framework} ")
    assert report["reference"].split(" ")[1][0].isdigit()


def test_says_how_far_it_is(converted):
    steps = [line for line in converted.printed.splitlines() if line.startswith("[")]
    assert [step[:5] for step in steps] == ["[1/4]", "[2/4]", "[3/4]", "[4/4]"]
    assert str(converted.path) in steps[0]
    assert "largest difference" in converted.printed.splitlines()[-1]


def sha256_by_the_system(path):
    return subprocess.check_output(["sha256sum", path], text=True).split()[0]


# what must not be converted: an exit code that is a text is printed, and the exit status is then 1


def test_above_the_tolerance_nothing_is_written(checkpoint, small_image_only, tmp_path):
    out = tmp_path / "out"
    ended = run_here("r50", checkpoint("r50"), "--out", out, "--tolerance", "1e-12")
    assert "more than 1e-12; nothing was written" in ended.code
    assert not out.exists()


def test_a_network_that_gives_nan_is_refused(checkpoint, small_image_only, tmp_path):
    """A variance below zero is a number like any other, and its root is none.

    The file is wrapped as torch.compile and some training codes leave it, for both sides to read.
    """
    path, out = checkpoint("r50"), tmp_path / "out"
    script = (
        "import sys, torch; state = torch.load(sys.argv[1])['model_state'];"
        "state['module.localmodel.bn.running_var'][:] = -1.0;"
        "state = {key.replace('module.', '_orig_mod.'): value for key, value in state.items()};"
        "torch.save({'model': state}, sys.argv[2])"
    )
    subprocess.run([sys.executable, "-c", script, path, tmp_path / "nan.pt"], check=True)
    ended = run_here("r50", tmp_path / "nan.pt", "--out", out, "--tolerance", "1")
    (tmp_path / "nan.pt").unlink()
    assert "differ by nan" in ended.code
    assert not out.exists()


def test_half_precision_is_compared_in_full(checkpoint, small_image_only, tmp_path):
    path, half, out = checkpoint("r50"), tmp_path / "half.safetensors", tmp_path / "out"
    script = (
        "import sys, torch; from safetensors.torch import save_file;"
        "state = torch.load(sys.argv[1])['model_state'];"
        "save_file({key: value.bfloat16() if value.is_floating_point() else value"
        " for key, value in state.items()}, sys.argv[2])"
    )
    subprocess.run([sys.executable, "-c", script, path, half], check=True)
    ended = run_here("r50", half, "--out", out)
    half.unlink()
    assert ended.code == 0
    assert json.loads((out / "report.json").read_text())["largest_difference"] < 2e-5


@pytest.mark.parametrize("model", ["dongkyuk", "paddle"])
def test_a_checkpoint_of_another_upstream_is_recognised(model, checkpoint, tmp_path):
    needs(MODELS[model].framework)
    ended = run_here(model, checkpoint("r50"), "--out", tmp_path / "out")
    assert "port it with tools/convert_official_pytorch.py" in ended.code


def test_a_reference_that_fails_is_named(checkpoint, monkeypatch, tmp_path):
    path = checkpoint("r50")
    monkeypatch.setattr(sys, "executable", "false")
    ended = run_here("r50", path, "--out", tmp_path / "out")
    assert "the reference, official_pytorch.py, failed" in ended.code
    assert list(tmp_path.iterdir()) == []


def damaged(path):
    path.write_bytes(b"PK\3\4" + bytes(1000))


def of_another_model(path):
    from safetensors.numpy import save_file

    save_file({"layer1.0.conv1.weight": np.zeros((4, 4, 1, 1), "float32")}, path)


def intruding(path):
    class Intruder:
        def __reduce__(self):
            return os.mkdir, (str(path.with_name("trace")),)

    path.write_bytes(pickle.dumps({"fc.weight": Intruder()}, protocol=2))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("make", [damaged, of_another_model, intruding])
def test_another_file_is_refused_in_one_line(model, make, tmp_path):
    needs(MODELS[model].framework)
    if make is of_another_model:
        needs("safetensors")
    path = tmp_path / "foreign.pt"
    make(path)
    ended = run_here(model, path, "--out", tmp_path / "out")
    assert ended.code.startswith(f"error: {path}")
    assert "\n" not in ended.code
    assert ended.err == ""
    assert list(tmp_path.iterdir()) == [path]


# how it is called


@pytest.mark.parametrize("model", MODELS)
def test_help_shows_an_example(model):
    ended = run_here(model, "--help")
    assert ended.code == 0
    assert f"\n    python tools/{MODELS[model].tool}.py " in ended.out
    assert "--out" in ended.out


@pytest.mark.parametrize("model", MODELS)
def test_says_that_the_framework_is_missing(model, monkeypatch, tmp_path):
    framework = MODELS[model].framework
    monkeypatch.setitem(sys.modules, framework, None)  # as where it is not installed
    path = tmp_path / "weights.pt"
    path.write_bytes(b"x")
    ended = run_here(model, path, "--out", tmp_path / "out")
    assert ended.code == 2
    assert f"needs {framework}, which is not installed" in ended.err
    assert 'pip install ".[convert]"' in ended.err
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_there_is_left_as_it_is(kind, tmp_path):
    needs("torch")
    path, out = tmp_path / "weights.pt", tmp_path / "out"
    path.write_bytes(b"x")
    mine = out if kind == "file" else out / "mine.txt"
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    ended = run_here("r50", path, "--out", out)
    assert ended.code == 2
    assert f"{out} is not empty" in ended.err
    assert mine.read_text() == "mine"
    assert set(tmp_path.rglob("*")) == {path, out, mine}


@pytest.mark.parametrize("tolerance", ["0", "-1", "nan", "inf"])
def test_a_tolerance_that_is_none_is_refused(tolerance, tmp_path):
    needs("torch")
    (tmp_path / "weights.pt").write_bytes(b"x")
    ended = run_here(
        "r50", tmp_path / "weights.pt", "--out", tmp_path / "out", f"--tolerance={tolerance}"
    )
    assert ended.code == 2
    assert "--tolerance must be above 0 and up to 1" in ended.err


def test_a_file_that_is_not_there_is_named(tmp_path):
    needs("torch")
    ended = run_here("r50", tmp_path / "nowhere.pt", "--out", tmp_path / "out")
    assert ended.code == 2
    assert f"there is no file {tmp_path / 'nowhere.pt'}" in ended.err
    assert list(tmp_path.iterdir()) == []

import json

import pytest
from bounds import COSINE
from small_model import small_model

from dolg_zoo.evaluation import comparison
from dolg_zoo.evaluation.comparison import Comparison


@pytest.fixture
def preset(tmp_path):
    small_model(license="MIT").save_to_preset(tmp_path / "small")
    return tmp_path / "small"


def test_it_writes_and_reports_both_figures(dolg, preset, photos, tmp_path):
    (photos / "near").mkdir()
    for name in ("coffee", "rocket"):
        (photos / f"{name}.png").rename(photos / "near" / f"{name}.png")
    done = dolg("export", preset, "-o", tmp_path / "served", "--check", photos, "--json")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert said["distance"] < 1e-5 and (tmp_path / "served" / "saved_model.pb").is_file()
    (checked,) = said["checks"]
    assert checked["measure"] == "mAP"
    assert checked["before"] == pytest.approx(checked["after"], abs=COSINE)


def test_it_says_at_which_size_it_was_compared(dolg, preset, tmp_path):
    done = dolg("export", preset, "-o", tmp_path / "served", "--size", "20,36")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert "1.000000 on average" in lines[1] and "20 x 36 pixels" in lines[1]
    assert "as it resizes images itself" in lines[2]


@pytest.mark.parametrize(
    ("options", "code"), [((), 1), (("--force",), 0), (("--max-loss", 0.3), 0)]
)
def test_a_model_that_loses_too_much_is_not_written(
    dolg, preset, photos, tmp_path, monkeypatch, options, code
):
    lossy = Comparison("places", "mAP", 0.9, 0.7)
    monkeypatch.setattr(comparison, "compare", lambda *_: lossy)
    done = dolg("export", preset, "-o", tmp_path / "served", "--check", photos / "far", *options)
    assert done.code == code
    assert (tmp_path / "served").exists() == (code == 0)
    if "--max-loss" not in options:
        assert "90.00 % before, 70.00 % after" in done.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--format", "foo"), "savedmodel, openvino, onnx, litert"),
        (("--format", "openvino"), ".xml"),
        (("--precision", "int8"), "float32 only"),
        (("--size", "3"), "HEIGHT,WIDTH"),
        (("--check", "nowhere"), "nowhere"),
    ],
)
def test_what_cannot_be_is_said_before_the_model_is_loaded(
    dolg, tmp_path, monkeypatch, options, said
):
    pytest.importorskip("openvino")
    from dolg_zoo.cli import export

    monkeypatch.setattr(export, "load_model", lambda preset: pytest.fail("it was loaded"))
    done = dolg("export", "-o", tmp_path / "served", *options)
    assert done.code in (1, 2) and said in done.err

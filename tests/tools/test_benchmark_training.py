import json

import pytest


@pytest.mark.slow
def test_times_both_sides_in_turn(load_tool, monkeypatch, capsys):
    pytest.importorskip("torch")
    small = ["--batch=2", "--size=64", "--classes=5", "--dim=16", "--rounds=2", "--steps=1"]
    monkeypatch.setattr("sys.argv", ["measure_training.py", *small])
    load_tool("measure_training").main()
    found = json.loads(capsys.readouterr().out)
    ours, theirs = found["seconds"].values()
    assert found["ratio"] == pytest.approx(ours["median"] / theirs["median"], abs=0.1)
    assert all(0 < side["min"] <= side["median"] <= side["max"] for side in (ours, theirs))


def test_says_which_side_has_failed(load_tool):
    tool = load_tool("measure_training")
    with pytest.raises(SystemExit, match=r"ended with status 3"):
        tool.Worker(["python3", "-c", "import sys; sys.exit(3)"])

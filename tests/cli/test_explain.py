import json
from pathlib import Path

import numpy as np
import pytest


def test_the_command_writes_the_picture_and_says_the_sum(dolg, photos, tmp_path):
    out = tmp_path / "why.svg"
    done = dolg("explain", photos / "rocket.png", photos / "coffee.png", "-o", out, "--json")
    said = json.loads(done.out)
    assert Path(said["picture"]).is_file()
    for side in said["sides"]:
        assert side["global"] + np.sum(side["places"]) == pytest.approx(said["score"])


def test_the_command_refuses_before_it_loads_a_model(dolg, photos, tmp_path):
    done = dolg("explain", photos / "rocket.png", "-o", tmp_path / "why.tiff")
    assert done.code == 1 and ".svg" in done.err
    (tmp_path / "bad.png").write_bytes(b"")
    done = dolg("explain", photos / "rocket.png", tmp_path / "bad.png")
    assert done.code == 1 and "bad.png" in done.err

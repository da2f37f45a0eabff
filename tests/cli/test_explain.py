import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


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


def test_the_command_explains_the_box_of_the_query(dolg, photos, tmp_path):
    with Image.open(photos / "rocket.png") as image:
        image.crop((0, 0, 160, 80)).save(tmp_path / "part.png")
    said = []
    for query in ([photos / "rocket.png", "--box", "0,0,160,80"], [tmp_path / "part.png"]):
        done = dolg("explain", *query, photos / "coffee.png", "-o", tmp_path / "a.png", "--json")
        said.append(json.loads(done.out))
    assert said[0]["score"] == pytest.approx(said[1]["score"], abs=1e-5)
    outside = dolg("explain", photos / "rocket.png", "--box", "9000,0,9100,9", "-o", "b.png")
    assert outside.code == 1 and "9000" in outside.err

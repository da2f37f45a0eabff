import json

import pytest
from PIL import Image


@pytest.fixture
def noise(tmp_path, rng):
    folder = tmp_path / "noise"
    folder.mkdir()
    for number in range(10):
        pixels = rng.uniform(0, 255, (6, 6, 3)).astype("uint8")
        Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC).save(
            folder / f"{number}.png"
        )
    return folder


def test_it_writes_a_preset_that_searches_and_describes_itself(dolg, noise, tmp_path):
    (noise / "broken.jpg").write_bytes(b"no image")
    out = tmp_path / "made"
    arguments = ("--backbone", "efficientnet_lite_b0", "--images", noise, "-o", out, "--dim", 6)
    done = dolg("fit", *arguments, "--json")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert (said["images"], said["dim"], said["preset"]) == (10, 6, str(out))
    assert [skip["name"] for skip in said["skipped"]] == [str(noise / "broken.jpg")]
    metadata = json.loads((out / "metadata.json").read_text())
    assert "fitted in closed form to 10 images" in metadata["provenance"]
    found = dolg("search", noise, "-q", noise / "3.png", "-p", out, "--json")
    assert json.loads(found.out)["matches"][0]["name"] == "3.png"


def test_a_file_as_output_is_refused_before_the_work(dolg, noise, tmp_path, monkeypatch):
    monkeypatch.setattr("dolg_zoo.cli.fit.import_tensorflow", None)
    (tmp_path / "out").write_text("mine")
    arguments = ("--backbone", "efficientnet_b0", "--images", noise, "-o", tmp_path / "out")
    done = dolg("fit", *arguments, "--dim", 6)
    assert done.code == 1 and "is a file" in done.err
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize(
    ("backbone", "dim", "message"),
    [
        ("mit_b5", 6, "no backbone 'mit_b5' with ImageNet weights"),
        ("efficentnet_b0", 6, "Did you mean 'efficientnet_b0'?"),
        ("efficientnet_b0", 10, "10 images"),
    ],
)
def test_what_cannot_be_fitted_is_refused_before_tensorflow(
    dolg, noise, tmp_path, monkeypatch, backbone, dim, message
):
    monkeypatch.setattr("dolg_zoo.cli.fit.import_tensorflow", None)
    out = tmp_path / "made"
    done = dolg("fit", "--backbone", backbone, "--images", noise, "-o", out, "--dim", dim)
    assert done.code == 1 and message in done.err and not out.exists()

import json
from pathlib import Path

import numpy as np
import pytest
from small_model import small_model

from dolg_zoo import DOLG


@pytest.fixture
def preset(tmp_path):
    small_model(license="MIT").save_to_preset(tmp_path / "small")
    return tmp_path / "small"


def test_it_writes_a_preset_with_shorter_descriptors(dolg, photos, preset, tmp_path, caplog):
    out = tmp_path / "new" / "whitened"
    done = dolg("whiten", photos, "-o", out, "--preset", preset, "--dim", 2, "--json")
    assert done.code == 0
    said = json.loads(done.out)
    assert (said["images"], said["dim"], said["preset"]) == (4, 2, str(out))
    assert "4 images are few to learn 2 dimensions from" in caplog.text
    model = DOLG.from_preset(out)
    assert model.metadata["license"] == "MIT"
    assert model.embed(photos).shape == (4, 2)


def test_what_it_writes_can_be_searched_and_described(dolg, photos, preset, tmp_path):
    out = tmp_path / "whitened"
    assert dolg("whiten", photos, "-o", out, "--preset", preset, "--dim", 3).out.startswith(
        "4 images (0 known from before), 6 to 3 dimensions: "
    )
    query = photos / "rocket.png"
    found = json.loads(dolg("search", photos, "-q", query, "-p", out, "--json").out)["matches"]
    assert found[0]["name"] == "rocket.png"
    assert "3 dimensions, whitened from 6" in dolg("info", out).out


def test_the_power_is_what_was_asked_for(dolg, photos, preset, tmp_path):
    covariances = []
    for power in (0, 0.5):
        out = tmp_path / str(power)
        dolg("whiten", photos, "-o", out, "--preset", preset, "--dim", 2, "--power", power)
        kernel, bias = DOLG.from_preset(out).net.get_layer("whitening").get_weights()
        whitened = DOLG.from_preset(preset).embed(photos, scales=[1]) @ kernel + bias
        covariances.append(np.cov(whitened.T))
    np.testing.assert_allclose(covariances[1], np.eye(2), atol=1e-2)
    assert abs(covariances[0] - np.eye(2)).max() > 0.1


def test_too_few_images_are_one_message_and_nothing_is_written(dolg, photos, preset, tmp_path):
    done = dolg("whiten", photos, "-o", tmp_path / "out", "--preset", preset)
    assert done.code == 1 and not (tmp_path / "out").exists()
    assert "4 images are too few to learn 6 dimensions from" in done.err


@pytest.mark.parametrize("dim", [7, 100])
def test_a_dim_that_the_model_has_not_is_refused_before_the_work(
    dolg, photos, preset, tmp_path, monkeypatch, dim
):
    monkeypatch.setattr(DOLG, "embed_each", None)
    done = dolg("whiten", photos, "-o", tmp_path / "out", "--preset", preset, "--dim", dim)
    assert done.code == 1 and f"dim must be a whole number from 1 to 6, got {dim}" in done.err


def test_a_bad_image_costs_itself_alone(dolg, photos, preset, tmp_path):
    (photos / "broken.jpg").write_bytes(b"no image")
    arguments = ("whiten", photos, "-o", tmp_path / "out", "-p", preset, "--dim", 2)
    assert dolg(*arguments).code == 0
    done = dolg(*arguments, "--strict")
    assert done.code == 3 and "'broken.jpg'" in done.err
    assert DOLG.from_preset(tmp_path / "out").descriptor_dim == 2


def test_a_file_as_output_is_refused_before_the_work(dolg, photos, tmp_path):
    (tmp_path / "out").write_text("mine")
    done = dolg("whiten", photos, "-o", tmp_path / "out", "--preset", "no such preset")
    assert done.code == 1 and "is a file" in done.err


def test_a_power_out_of_its_range_is_wrong_usage(dolg, photos, tmp_path):
    assert dolg("whiten", photos, "-o", tmp_path / "out", "--power", 2).code == 2


def test_what_the_whitening_costs_is_measured_on_the_folders_to_check(
    dolg, photos, preset, tmp_path
):
    for number, path in enumerate(sorted(filter(Path.is_file, photos.rglob("*")))):
        folder = tmp_path / "classes" / "ab"[number // 2]
        folder.mkdir(parents=True, exist_ok=True)
        path.rename(folder / path.name)
    classes, out = tmp_path / "classes", tmp_path / "out"
    arguments = ("whiten", classes, "-o", out, "--preset", preset, "--dim", 2, "--check", classes)
    (found,) = json.loads(dolg(*arguments, "--json").out)["checks"]
    assert (found["folder"], found["measure"]) == (str(classes), "mAP")
    files = sorted(filter(Path.is_file, classes.rglob("*")))
    for key, folder in (("before", preset), ("after", out)):
        descriptors = DOLG.from_preset(folder).embed(files)
        # the one other image of the class, so many of the two others before it
        ranks = []
        for row, scores in enumerate(descriptors @ descriptors.T):
            others = [each for each in range(4) if each not in (row, row ^ 1)]
            ranks.append(1 + sum(scores[each] > scores[row ^ 1] for each in others))
        assert found[key] == pytest.approx(np.mean(1 / np.array(ranks)))
    said = dolg(*arguments)
    assert "checked on" in said.out and f"{found['after']:.4f}" in said.out
    assert ("score lower" in said.err) == (found["before"] - found["after"] > 0.01)


def test_a_folder_to_check_that_is_not_there_is_named_before_the_work(dolg, photos, tmp_path):
    arguments = ("whiten", photos, "-o", tmp_path / "out", "--preset", "no such preset")
    done = dolg(*arguments, "--check", tmp_path / "nowhere")
    assert done.code == 1 and "nowhere" in done.err

import dataclasses
import json
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from small_run import skip_what_takes_longest, tiny_model

from dolg_zoo import DOLG
from dolg_zoo.explaining.keras_maps import decompose_by_keras
from dolg_zoo.training.data import load_split


@pytest.fixture(scope="module")
def tool(load_tool):
    return load_tool("train_embedded_preset")


@pytest.fixture(scope="module")
def measure(load_tool):
    return load_tool("measure_embedded_preset")


@pytest.fixture
def photos(tmp_path, rng):
    for kind, classes in (("places", 11), ("products", 6)):
        for number in range(classes):
            folder = tmp_path / "photos" / kind / f"{number:02}"
            folder.mkdir(parents=True)
            for name in ("a.png", "b.png"):
                pixels = rng.uniform(0, 255, (8, 8, 3)).astype("uint8")
                Image.fromarray(pixels).resize((96, 64)).save(folder / name)
    return tmp_path / "photos"


def test_every_fifth_class_of_each_kind_is_held_out(tool, photos):
    training, validation = tool.split(photos)
    assert {label for _, label in validation} == {"places/04", "places/09", "products/04"}
    assert len(training) == 28 and len(validation) == 6
    assert all(f"{path.parent.parent.name}/{path.parent.name}" == label for path, label in training)


def test_what_is_held_out_is_what_the_run_validates_on(tool, photos, tmp_path):
    training, validation = tool.split(photos)
    tool.write_list(tmp_path / "all.csv", training + validation)
    arguments = SimpleNamespace(out=tmp_path, epochs=3, seed=5)
    labels = sorted({label for _, label in validation})
    config = tool.configure(tmp_path / "start", arguments, labels)
    assert (config.run.epochs, config.run.seed) == (3, 5)
    ours, theirs = load_split(config, tmp_path)
    assert sorted(map(str, ours.sources)) == sorted(str(path) for path, _ in training)
    assert sorted(map(str, theirs.sources)) == sorted(str(path) for path, _ in validation)


@pytest.mark.slow
def test_the_whole_of_it(tool, measure, photos, tmp_path, monkeypatch, capsys):
    skip_what_takes_longest(monkeypatch.setattr)
    monkeypatch.setattr(
        tool, "ARCHITECTURE", tool.ARCHITECTURE | {"hidden_dim": 8, "descriptor_dim": 8}
    )
    monkeypatch.setattr(tool, "RunPlan", partial(tool.RunPlan, image_size=64, batch_size=14))
    out = tmp_path / "out"
    monkeypatch.setattr("sys.argv", ["train", str(photos), "-o", str(out), "--epochs", "1"])
    tool.main()
    said = json.loads((out / "packed" / "metadata.json").read_text())
    assert (
        "28 labelled photographs of 14 classes (9 of places, 5 of products)" in (said["provenance"])
    )
    packed = DOLG.from_preset(out / "packed")
    best = DOLG.from_preset(out / "run")
    queries = sorted(photos.rglob("*.png"))[:4]
    # kernels are rounded to float16, by up to 2^-11 of each
    np.testing.assert_allclose(packed.embed(queries), best.embed(queries), rtol=0, atol=2e-3)
    history = json.loads((out / "run" / "history.json").read_text())["history"]
    assert [row["epoch"] for row in history] == [0, 1]
    list_ = out / "validation_places.csv"
    monkeypatch.setattr(
        "sys.argv", ["measure", "--preset", str(out / "packed"), "--local-part", str(list_)]
    )
    capsys.readouterr()
    measure.main()
    printed = capsys.readouterr().out
    assert printed.count("DOLG descriptor") == 5 and "same class: mean local part" in printed


def test_the_local_part_is_what_explain_says(measure, rng):
    model = tiny_model()
    images = rng.uniform(0, 255, (4, 32, 32, 3)).astype("uint8")
    labels = np.array([0, 0, 1, 1])
    (score, part), (other_score, other_part) = measure.local_parts(model, list(images), labels)
    taken = [decompose_by_keras(model.net, image) for image in images]
    whole = np.stack([each.descriptor for each in taken])
    local = np.stack([each.places.sum(axis=(0, 1)) for each in taken])
    scores, parts = whole @ whole.T, (local @ whole.T + whole @ local.T) / 2
    same, other = ([0, 2], [1, 3]), ([0, 0, 1, 1], [2, 3, 2, 3])
    assert score == pytest.approx(scores[same].mean(), abs=1e-5)
    assert part == pytest.approx(parts[same].mean(), abs=1e-5)
    assert other_score == pytest.approx(scores[other].mean(), abs=1e-5)
    assert other_part == pytest.approx(parts[other].mean(), abs=1e-5)


def test_two_scales_are_the_mean_of_two_unit_vectors(measure, rng):
    model = tiny_model()
    converter = dataclasses.replace(model.image_converter, size=(32, 32))
    image = Image.fromarray(rng.uniform(0, 255, (32, 32, 3)).astype("uint8"))
    one = measure.unit(measure.embed(model.net, converter, (1.0,), [image]))
    two = measure.unit(measure.embed(model.net, converter, (1.0, 1.0), [image]))
    np.testing.assert_allclose(one, two, atol=1e-5)

"""The benchmark from files to figures, on a small one of the same make."""

import numpy as np
import pytest
from bounds import COSINE
from PIL import Image
from unit_rows import unit

from dolg_zoo import DOLG, Crop
from dolg_zoo.evaluation import Revisited, read_ground_truth, revisited_scores
from dolg_zoo.retrieval import StoreError
from dolg_zoo.retrieval.search.ranking import Ranking, expand_queries, rerank

SUBJECTS = ["astronaut", "coffee", "rocket"]
GALLERY = {f"{subject}_{n}": subject for subject in SUBJECTS for n in range(3)}
BOXES = {"coffee_q": [10.7, 5, 90, 75.2], "rocket_q": [0, 0, 60, 80]}


@pytest.fixture
def benchmark(tmp_path, write_images, write_truth):
    """A folder like that of RParis6k: the ground truth beside the images."""
    queries = {name: name[:-2] for name in BOXES}
    images = {**GALLERY, **queries}
    write_images(tmp_path / "jpg", {f"{name}.jpg": images[name] for name in images})
    entries = [
        {"bbx": BOXES["coffee_q"], "easy": [3, 5], "hard": [4], "junk": [0]},
        {"bbx": BOXES["rocket_q"], "easy": [7], "hard": [6, 8], "junk": []},
    ]
    write_truth(GALLERY, BOXES, entries, "gnd_rparis6k.pkl")
    return tmp_path


@pytest.fixture
def rows(benchmark, model):
    """Queries, as the protocol crops them, and gallery."""
    folder = benchmark / "jpg"
    crops = [Crop(folder / f"{name}.jpg", box) for name, box in BOXES.items()]
    gallery = [folder / f"{name}.jpg" for name in GALLERY]
    return model.embed(crops), model.embed(gallery)


def figures(scores):
    """Scores as a report has them."""
    return {
        setup: {"mAP": score.map, **{f"mP@{k}": p for k, p in score.precision_at.items()}}
        | {"queries": score.queries}
        for setup, score in scores.items()
    }


def assert_equal(report, scores):
    expected = figures(scores)
    assert report.scores.keys() == expected.keys()
    for setup, values in expected.items():
        assert report.scores[setup] == pytest.approx(values, abs=COSINE)


@pytest.fixture
def truth(benchmark):
    return read_ground_truth(benchmark / "gnd_rparis6k.pkl")


def test_queries_are_cropped_and_everything_is_searched(benchmark, rows, truth, model):
    report = Revisited.find("rparis6k", benchmark).evaluate(model)
    assert_equal(report, revisited_scores(truth, *rows))
    assert report.settings["queries"] == 2 and report.settings["gallery"] == 9
    assert report.settings["crop_queries"] is True and report.notes == []


def test_whole_queries_are_said_not_to_follow_the_protocol(benchmark, rows, truth, model):
    report = Revisited.find("rparis6k", benchmark / "jpg").evaluate(model, crop=False)
    whole = model.embed([benchmark / "jpg" / f"{name}.jpg" for name in BOXES])
    assert_equal(report, revisited_scores(truth, whole, rows[1]))
    assert "follow the protocol" in report.notes[0]


def test_distractors_are_searched_too(benchmark, rows, truth, model, write_store, rng):
    more = unit(rows[0][[0, 1, 0, 1, 0]] + 0.02 * rng.standard_normal((5, 8)))
    store = write_store([f"far/{n}.jpg" for n in range(5)], more, model, part=2)
    task = Revisited.find("rparis6k", benchmark)
    report = task.evaluate(model, distractors=store)
    assert_equal(report, revisited_scores(truth, *rows, [more]))
    alone = task.evaluate(model)
    assert report.scores["medium"]["mAP"] < alone.scores["medium"]["mAP"]
    assert report.settings["distractors"] == 5 and "5 distractors" in report.task


def test_ranking_options_work_on_gallery_and_distractors(
    benchmark, rows, truth, model, write_store, rng
):
    queries, gallery = rows
    more = unit(gallery[:4] + 0.03 * rng.standard_normal((4, 8)))
    store = write_store(["a", "b", "c", "d"], more, model)
    ranking = Ranking(expand=2, rerank=6, k1=4)
    report = Revisited.find("rparis6k", benchmark).evaluate(
        model, distractors=store, ranking=ranking
    )
    everything = np.concatenate([gallery, more])

    def search(wanted, k):
        similarities = wanted @ everything.T
        places = np.argsort(-similarities, axis=1)[:, :k]
        return np.take_along_axis(similarities, places, 1), places

    expanded = expand_queries(queries, search, everything, 2)
    _, first = rerank(expanded, *search(expanded, 6), everything, k1=4)
    order = np.concatenate([first, search(expanded, 13)[1][:, 6:]], axis=1)
    # descriptors whose cosines fall in that order
    fake = np.zeros((13, 2), np.float32)
    for query, ranking in enumerate(order):
        fake[ranking, query] = np.linspace(1, 0, 13)
    expected = revisited_scores(truth, np.eye(2, dtype=np.float32), fake[:9], [fake[9:]])
    assert_equal(report, expected)
    assert (report.settings["expand"], report.settings["rerank_k1"]) == (2, 4)


@pytest.mark.parametrize("change", [{"model_id": "f" * 32}, {"scales": (0.5, 1.0)}])
def test_distractors_made_otherwise_are_refused_before_an_image_is_embedded(
    benchmark, model, write_store, rng, embedded_images, change
):
    rows = rng.standard_normal((2, 8)).astype(np.float32)
    store = write_store(["a", "b"], rows, model, **change)
    with pytest.raises(StoreError, match=r"there, .* here"):
        Revisited.find("rparis6k", benchmark).evaluate(model, distractors=store)
    assert embedded_images == []


def test_only_an_image_that_changed_is_embedded_again(
    benchmark, model, embedded_images, write_images
):
    before = Revisited.find("rparis6k", benchmark).evaluate(model)
    embedded_images.clear()
    assert Revisited.find("rparis6k", benchmark).evaluate(model) == before
    assert embedded_images == []
    write_images(benchmark / "jpg", {"coffee_1.jpg": "astronaut"})
    changed = benchmark / "jpg/coffee_1.jpg"
    Image.open(changed).rotate(1).save(changed)  # else it had the descriptor of its equal
    after = Revisited.find("rparis6k", benchmark).evaluate(model)
    assert embedded_images == ["coffee_1.jpg"]
    assert after.scores["hard"]["mAP"] < before.scores["hard"]["mAP"]


def test_an_image_that_cannot_be_read_is_named(benchmark, model):
    (benchmark / "jpg" / "coffee_1.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"1 images cannot be read.*kept[\s\S]*'coffee_1'"):
        Revisited.find("rparis6k", benchmark).evaluate(model)


def test_a_missing_image_is_named_before_a_model_is_there(benchmark):
    (benchmark / "jpg" / "rocket_2.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 11 images .*rocket_2"):
        Revisited.find("rparis6k", benchmark)


def test_extra_images_and_the_overlap_are_noted(benchmark, model, write_images):
    write_images(benchmark, {"more/extra.jpg": "coffee"})
    model = DOLG(model.net, model.image_converter, {"preset": "dolg_resnet50_gldv2"})
    notes = Revisited.find("rparis6k", benchmark).evaluate(model).notes
    assert "36 of 70 ROxford and 38 of 70 RParis queries" in notes[0]
    assert notes[1].startswith("1 images in the folder") and "extra.jpg" in notes[1]


def test_two_queries_may_be_cut_from_one_image(benchmark, write_truth, model):
    entries = [
        {"bbx": box, "easy": [3], "hard": [], "junk": []}
        for box in ([0, 0, 50, 80], [50, 0, 100, 80])
    ]
    write_truth(GALLERY, ["coffee_q", "coffee_q"], entries, "gnd_rparis6k.pkl")
    report = Revisited.find("rparis6k", benchmark).evaluate(model)
    folder, truth = benchmark / "jpg", read_ground_truth(benchmark / "gnd_rparis6k.pkl")
    queries = model.embed([Crop(folder / "coffee_q.jpg", box) for box in truth.boxes])
    gallery = model.embed([folder / f"{name}.jpg" for name in GALLERY])
    assert_equal(report, revisited_scores(truth, queries, gallery))

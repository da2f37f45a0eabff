"""Google Landmarks v2 from files to figures, on a small one of the same make."""

import numpy as np
import pytest
from bounds import COSINE
from unit_rows import unit_rows

from dolg_zoo.evaluation import (
    Recognition,
    Retrieval,
    mean_average_precision_at,
    micro_average_precision,
    score_recognition,
    score_retrieval,
)
from dolg_zoo.retrieval import StoreError
from dolg_zoo.retrieval.search.ranking import Ranking


def ids(first, count):
    return [f"{first}{number:015x}" for number in range(count)]


@pytest.fixture
def write(tmp_path):
    def write(name, *lines):
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        return tmp_path / name

    return write


INDEX, QUERIES = ids("a", 150), ids("b", 4)


@pytest.fixture
def solution(write):
    lines = (
        f"{QUERIES[0]},{INDEX[3]} {INDEX[7]},Public",
        f"{QUERIES[1]},{INDEX[1]},Private",
        f"{QUERIES[2]},None,Ignored",
        f"{QUERIES[3]},{' '.join(INDEX[20:60])},Private",
    )
    return write("retrieval.csv", "id,images,Usage", *lines)


RELEVANT = {
    "Public": {QUERIES[0]: {INDEX[3], INDEX[7]}},
    "Private": {QUERIES[1]: {INDEX[1]}, QUERIES[3]: set(INDEX[20:60])},
}


def ranked(queries, gallery):
    order = np.argsort(-(queries @ gallery.T), axis=1)
    return {
        query: [INDEX[place] for place in found]
        for query, found in zip(QUERIES, order.tolist(), strict=True)
    }


def test_retrieval_from_stores_needs_no_model(solution, write_store, rng):
    gallery, queries = unit_rows(rng, 150, 16), unit_rows(rng, 4, 16)
    paths = [f"{name[0]}/{name[1]}/{name[2]}/{name}.jpg" for name in INDEX]
    index = write_store(paths, gallery, part=40, folder="index")
    task = Retrieval.find(solution, index, write_store(QUERIES, queries, folder="queries"))
    assert not task.needs_model
    report = task.evaluate()
    for subset, relevant in RELEVANT.items():
        expected = mean_average_precision_at(ranked(queries, gallery), relevant)
        assert report.scores[subset]["mAP@100"] == pytest.approx(expected, abs=COSINE)
    assert report.scores["Private"]["queries"] == 2
    assert report.settings["preset"] == "some-model" and report.settings["index"] == 150


def test_retrieval_with_options(solution, write_store, rng):
    gallery, queries = unit_rows(rng, 150, 16), unit_rows(rng, 4, 16)
    index = write_store(INDEX, gallery, folder="index")
    task = Retrieval.find(solution, index, write_store(QUERIES, queries, folder="queries"))
    report = task.evaluate(ranking=Ranking(expand=3, dba=2))
    assert report.scores != task.evaluate().scores
    assert (report.settings["dba"], report.settings["alpha"]) == (2, 3.0)


def test_a_query_without_a_descriptor_finds_nothing_and_is_noted(solution, write_store, rng):
    gallery, queries = unit_rows(rng, 150, 16), unit_rows(rng, 3, 16)
    index = write_store(INDEX, gallery, folder="index")
    report = Retrieval.find(
        solution, index, write_store(QUERIES[:3], queries, folder="q")
    ).evaluate()
    assert report.notes == [f"1 queries have no descriptor: {QUERIES[3]}."]
    assert report.scores["Private"]["mAP@100"] <= 1 / 2


@pytest.mark.parametrize("change", [{"model_id": "f" * 32}, {"scales": (2.0,)}])
def test_stores_of_two_models_are_not_compared(solution, write_store, rng, change):
    index = write_store(INDEX, unit_rows(rng, 150, 16), folder="index")
    queries = write_store(QUERIES, unit_rows(rng, 4, 16), folder="queries", **change)
    with pytest.raises(StoreError, match=r"there, .* here"):
        Retrieval.find(solution, index, queries).evaluate()


@pytest.mark.parametrize("tree", [True, False])
def test_retrieval_from_images(write, tmp_path, write_images, model, tree):
    def place(name):
        return f"{name[0]}/{name[1]}/{name[2]}/{name}.jpg" if tree else f"{name}.jpg"

    subjects = ["coffee", "rocket", "coffee", "astronaut"]
    write_images(tmp_path / "index", {place(n): s for n, s in zip(INDEX, subjects, strict=False)})
    write_images(tmp_path / "test", {place(QUERIES[0]): "coffee", place(QUERIES[1]): "astronaut"})
    path = write("s.csv", "id,images,Usage", f"{QUERIES[0]},{INDEX[0]} {INDEX[2]},Public")
    report = Retrieval.find(path, tmp_path / "index", tmp_path / "test").evaluate(model)
    folder = tmp_path / "index"
    gallery = model.embed([folder / place(name) for name in INDEX[:4]])
    query = model.embed(tmp_path / "test" / place(QUERIES[0]))[0]
    order = [INDEX[place] for place in np.argsort(-(gallery @ query))]
    expected = mean_average_precision_at({"q": order}, {"q": {INDEX[0], INDEX[2]}})
    assert report.scores == {"Public": {"mAP@100": pytest.approx(expected), "queries": 1}}


def test_missing_images_are_named_before_a_model_is_there(solution, tmp_path, write_images):
    write_images(tmp_path / "index", {f"{INDEX[3]}.jpg": "coffee"})
    write_images(tmp_path / "test", {f"{QUERIES[0]}.jpg": "coffee"})
    with pytest.raises(FileNotFoundError, match=rf"42 of 43 images .*{INDEX[1]}.*, …"):
        Retrieval.find(solution, tmp_path / "index", tmp_path / "test")


def test_images_need_a_model(write, tmp_path, write_images):
    write_images(tmp_path / "all", {f"{INDEX[0]}.jpg": "coffee", f"{QUERIES[0]}.jpg": "coffee"})
    path = write("s.csv", "id,images,Usage", f"{QUERIES[0]},{INDEX[0]},Public")
    task = Retrieval.find(path, tmp_path / "all", tmp_path / "all")
    with pytest.raises(ValueError, match="give a model"):
        task.evaluate()


def test_a_submission_is_scored(solution, write):
    submission = write(
        "submission.csv",
        "id,images",
        f"{QUERIES[0]},{INDEX[9]} {INDEX[7]}",
        f"{QUERIES[1]},{INDEX[1]}",
    )
    report = score_retrieval(solution, submission)
    assert report.scores["Public"]["mAP@100"] == pytest.approx((1 / 2) / 2)
    assert report.scores["Private"]["mAP@100"] == pytest.approx(1 / 2)


TRAIN = ids("c", 40)


@pytest.fixture
def recognition(write):
    lines = (
        f"{QUERIES[0]},1,Public",
        f"{QUERIES[1]},,Public",
        f"{QUERIES[2]},2 3,Public",
        f"{QUERIES[3]},4,Private",
    )
    return write("recognition.csv", "id,landmarks,Usage", *lines)


SHOWN = {
    "Public": {QUERIES[0]: {1}, QUERIES[1]: set(), QUERIES[2]: {2, 3}},
    "Private": {QUERIES[3]: {4}},
}


def test_recognition_by_the_nearest_training_images(recognition, write, write_store, rng):
    landmarks = rng.integers(1, 6, 40)
    listed = [n for n in range(40) if n % 7]  # the others are in the store, but have no label
    labels = write(
        "train.csv", "id,url,landmark_id", *(f"{TRAIN[n]},http://x,{landmarks[n]}" for n in listed)
    )
    train, queries = unit_rows(rng, 40, 8), unit_rows(rng, 4, 8)
    shuffled = rng.permutation(40)
    store = write_store([TRAIN[n] for n in shuffled], train[shuffled], part=9, folder="train")
    task = Recognition.find(
        recognition, labels, store, write_store(QUERIES, queries, folder="queries")
    )
    report = task.evaluate(neighbours=3)
    predictions = {}
    for name, query in zip(QUERIES, queries, strict=True):
        votes = {}
        for place in sorted(listed, key=lambda n: -(train[n] @ query))[:3]:
            votes[landmarks[place]] = votes.get(landmarks[place], 0) + float(train[place] @ query)
        predictions[name] = max(votes.items(), key=lambda vote: vote[1])
    for subset, shown in SHOWN.items():
        expected = micro_average_precision(predictions, shown)
        assert report.scores[subset]["μAP"] == pytest.approx(expected, abs=COSINE)
    assert report.scores["Public"] | {"μAP": 0} == {"μAP": 0, "queries": 3, "with a landmark": 2}
    assert report.settings["train"] == len(listed) and report.settings["neighbours"] == 3


def test_a_submission_of_recognition_is_scored(recognition, write):
    submission = write(
        "submission.csv",
        "id,landmarks",
        f"{QUERIES[0]},1 0.5",
        f"{QUERIES[1]},9 0.9",
        f"{QUERIES[3]},",
    )
    report = score_recognition(recognition, submission)
    assert report.scores["Public"]["μAP"] == pytest.approx((1 / 2) / 2)
    assert report.scores["Private"]["μAP"] == 0

import numpy as np
import pytest
from bounds import COSINE
from plain_embedder import PlainEmbedder

from dolg_zoo.evaluation import ClassFolder, leave_one_out
from dolg_zoo.retrieval.search.ranking import Ranking, expand_queries


@pytest.fixture
def places(tmp_path, write_images):
    folder = tmp_path / "places"
    names = {f"{s}/{n}.jpg": s for s in ("coffee", "rocket") for n in range(3)}
    write_images(folder, {**names, "coffee/old/a.jpg": "coffee", "lone/a.jpg": "astronaut"})
    return folder


def described(model, folder):
    paths = sorted(folder.rglob("*/*.jpg"))
    return model.embed(paths), [path.relative_to(folder).parts[0] for path in paths]


def average_precision(ranking):
    hits = [rank for rank, is_right in enumerate(ranking, 1) if is_right]
    return np.mean([(number + 1) / rank for number, rank in enumerate(hits)])


def by_hand(queries, gallery, labels):
    """Of each query, the average precision and the class."""
    found = {}
    for number, query in enumerate(queries):
        order = sorted(range(len(gallery)), key=lambda place: -(gallery[place] @ query))
        ranking = [labels[place] == labels[number] for place in order if place != number]
        if any(ranking):
            found.setdefault(labels[number], []).append(average_precision(ranking))
    return found


def test_a_folder_of_the_system_is_no_class(tmp_path):
    names = ["a/1.jpg", "a/2.jpg"]
    for name in [*names, "@eaDir/a.jpg/M.jpg", "#recycle/1.jpg", "#recycle/2.jpg"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert list(ClassFolder.find(tmp_path).paths) == names


def test_scores_of_each_class_and_of_all(places, model):
    report = ClassFolder.find(places).evaluate(model)
    descriptors, labels = described(model, places)
    found = by_hand(descriptors, descriptors, labels)
    assert list(report.scores) == ["all", "coffee", "rocket"]
    for label, precisions in found.items():
        assert report.scores[label]["mAP"] == pytest.approx(np.mean(precisions), abs=COSINE)
    whole = leave_one_out(descriptors, labels)
    assert report.scores["all"]["mAP"] == pytest.approx(whole.map, abs=COSINE)
    assert report.scores["all"]["recall@1"] == whole.recall_at_1
    assert report.settings["images"] == 8 and report.settings["queries"] == 7
    assert report.scores["coffee"]["images"] == 4
    assert report.notes[0] == (
        "1 images are the only one of their class: they are in the gallery, but are no queries."
    )


def test_it_ends_with_the_worst_classes_and_the_pairs_that_are_confused(tmp_path, write_images):
    """Images of one colour, whose descriptors are two numbers each."""
    angles = {"a/1": 0, "a/2": 90, "b/1": 1.5, "b/2": 2, "b/3": 89, "c/1": 200, "c/2": 201}
    write_images(tmp_path, {f"{name}.jpg": "coffee" for name in angles})

    class Known(PlainEmbedder):
        descriptor_dim = 2

        def embed_each(self, images, **settings):
            for index, path in enumerate(images):
                angle = np.deg2rad(angles[f"{path.parent.name}/{path.stem}"])
                yield index, np.array([np.cos(angle), np.sin(angle)], "float32")

    report = ClassFolder.find(tmp_path).evaluate(Known())
    # of a/1 the nearest are b/1, b/2, b/3, a/2: precision 1/4; of a/2 they are b/3, b/2, b/1, a/1
    worst, pairs = report.notes
    assert worst.startswith("Worst classes by mAP: a (25.00 %), b (")
    assert pairs == "Classes whose images were found first by each other: a and b (3)."


def test_folders_whose_names_look_the_same_are_one_class(tmp_path):
    for name in ("Zu\u0308rich/a.jpg", "Z\u00fcrich/b.jpg"):
        path = tmp_path / name
        path.parent.mkdir()
        path.touch()
    assert len(ClassFolder.find(tmp_path).paths) == 2  # which are two of a class


def test_queries_are_expanded_without_themselves(places, model):
    ranking = Ranking(expand=2)
    report = ClassFolder.find(places).evaluate(model, ranking=ranking)
    descriptors, labels = described(model, places)

    def search(queries, k):
        similarities = queries @ descriptors.T
        np.fill_diagonal(similarities, -2)
        order = np.argsort(-similarities, axis=1)[:, :k]
        return np.take_along_axis(similarities, order, 1), order

    expanded = expand_queries(descriptors, search, descriptors, 2)
    found = by_hand(expanded, descriptors, labels)
    for label, precisions in found.items():
        assert report.scores[label]["mAP"] == pytest.approx(np.mean(precisions), abs=COSINE)


def test_re_ranking_reorders_the_first_results_only(places, model):
    task = ClassFolder.find(places)
    plain = task.evaluate(model)
    one = task.evaluate(model, ranking=Ranking(rerank=1))
    assert one.scores == plain.scores  # one result has one order
    ranked = task.evaluate(model, ranking=Ranking(rerank=7, k1=3))
    assert ranked.settings["rerank"] == 7 and ranked.scores.keys() == plain.scores.keys()


def test_bad_images_and_images_of_no_class_are_left_out(places, model, write_images):
    (places / "rocket" / "0.jpg").write_bytes(b"no image")
    write_images(places, {"beside.jpg": "coffee"})
    report = ClassFolder.find(places).evaluate(model)
    assert list(report.skipped) == ["rocket/0.jpg"]
    assert report.settings["images"] == 7 and report.settings["skipped"] == 1
    assert "1 images in no subfolder were left out." in report.notes
    assert "1 images could not be read." in report.notes


def test_a_folder_with_nothing_to_find_is_refused(places):
    with pytest.raises(ValueError, match=r"No subfolder .* has two images"):
        ClassFolder.find(places / "coffee" / "old")


def test_database_augmentation_is_refused(places, model):
    with pytest.raises(ValueError, match="put each query's descriptor into"):
        ClassFolder.find(places).evaluate(model, ranking=Ranking(dba=1))

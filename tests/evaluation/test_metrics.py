import numpy as np
import pytest
from bounds import COSINE, FLOAT64

from dolg_zoo.evaluation import RetrievalScores, average_precision, leave_one_out, query_gallery
from dolg_zoo.evaluation import metrics as metrics_module


def precision_by_hand(ranking):
    """AP as it is defined: at each relevant rank, relevant so far over rank; their mean."""
    precisions = []
    for rank in range(1, len(ranking) + 1):
        if ranking[rank - 1]:
            precisions.append(sum(ranking[:rank]) / rank)
    return sum(precisions) / len(precisions)


def scores_by_hand(queries, query_labels, gallery, gallery_labels, same=False):
    precisions, firsts = [], []
    for i, query in enumerate(queries):
        found = []
        for j, image in enumerate(gallery):
            if not (same and i == j):
                cosine = query @ image / np.linalg.norm(query) / np.linalg.norm(image)
                found.append((-cosine, j))
        ranking = [int(gallery_labels[j] == query_labels[i]) for _, j in sorted(found)]
        if any(ranking):
            precisions.append(precision_by_hand(ranking))
            firsts.append(ranking[0])
    return np.mean(precisions), np.mean(firsts), len(firsts)


@pytest.mark.parametrize(
    ("ranking", "expected"),
    [
        ([1], 1),
        ([1, 1, 0, 0], 1),
        ([0, 1], 1 / 2),
        ([1, 0, 0, 1], (1 + 2 / 4) / 2),
        ([0, 0, 1, 1, 1], (1 / 3 + 2 / 4 + 3 / 5) / 3),
    ],
)
def test_average_precision_of_rankings_worked_out_by_hand(ranking, expected):
    assert average_precision(ranking) == pytest.approx(expected, abs=FLOAT64)


def test_average_precision_of_many_rankings_at_once(rng):
    rankings = rng.random((20, 30)) < 0.2
    rankings[:, 7] = True
    expected = [precision_by_hand(ranking.tolist()) for ranking in rankings]
    np.testing.assert_allclose(average_precision(rankings), expected, atol=FLOAT64)


@pytest.mark.parametrize("ranking", [[], [0, 0, 0]])
def test_a_ranking_without_anything_relevant_has_no_average_precision(ranking):
    with pytest.raises(ValueError, match="at least one relevant"):
        average_precision(ranking)


def test_leave_one_out_is_the_formula(rng):
    descriptors = rng.standard_normal((40, 8))
    labels = rng.integers(0, 6, 40)
    scores = leave_one_out(descriptors, labels)
    expected = scores_by_hand(descriptors, labels, descriptors, labels, same=True)
    assert (scores.map, scores.recall_at_1, scores.queries) == pytest.approx(expected, abs=COSINE)


def test_query_gallery_is_the_formula(rng):
    queries, gallery = rng.standard_normal((9, 8)), rng.standard_normal((50, 8))
    query_labels, gallery_labels = rng.integers(0, 7, 9), rng.integers(0, 5, 50)
    scores = query_gallery(queries, query_labels, gallery, gallery_labels)
    expected = scores_by_hand(queries, query_labels, gallery, gallery_labels)
    assert expected[2] < 9  # some queries have nothing to find, and are not counted
    assert (scores.map, scores.recall_at_1, scores.queries) == pytest.approx(expected, abs=COSINE)


def test_memory_is_bounded_by_chunks_that_change_nothing(rng, monkeypatch):
    descriptors, labels = rng.standard_normal((40, 8)), rng.integers(0, 6, 40)
    whole = leave_one_out(descriptors, labels)
    monkeypatch.setattr(metrics_module, "MAX_SIMILARITIES", 3 * 40)
    assert leave_one_out(descriptors, labels) == whole


def test_an_image_whose_label_no_other_has_distracts_but_is_no_query():
    descriptors = [[1, 0], [0.9, 0.1], [0, 1], [1, 0.01]]
    scores = leave_one_out(descriptors, ["a", "a", "b", "c"])
    # both a's find c first and the other a second
    assert scores == RetrievalScores(map=0.5, recall_at_1=0.0, queries=2)


def test_of_equally_similar_images_the_earlier_comes_first():
    gallery = [[1, 0], [0, 1]] * 500  # every other one is like the query
    first = query_gallery([[1, 0]], ["a"], gallery, ["a"] + ["b"] * 999)
    last = query_gallery([[1, 0]], ["a"], gallery, ["b"] * 998 + ["a", "b"])
    assert (first.map, first.recall_at_1) == (1, 1)
    assert (last.map, last.recall_at_1) == (1 / 500, 0)


def test_the_length_of_descriptors_does_not_matter(rng):
    descriptors, labels = rng.standard_normal((20, 4)), rng.integers(0, 4, 20)
    longer = descriptors * rng.uniform(1, 100, (20, 1))
    assert leave_one_out(longer, labels) == leave_one_out(descriptors, labels)


@pytest.mark.parametrize(
    ("descriptors", "labels", "message"),
    [
        (np.ones((3, 2)), ["a", "a"], r"\(3, 2\) and \(2,\)"),
        (np.ones(3), ["a"] * 3, "shape"),
        ([[1, np.nan], [1, 0]], ["a", "a"], "not finite"),
        (np.ones((2, 2)), ["a", "b"], "nothing to score"),
        (np.ones((0, 2)), [], "nothing to score"),
    ],
)
def test_what_cannot_be_scored_is_refused(descriptors, labels, message):
    with pytest.raises(ValueError, match=message):
        leave_one_out(descriptors, labels)


def test_dimensions_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"dimension 3 .* dimension 2"):
        query_gallery(np.ones((1, 3)), ["a"], np.ones((1, 2)), ["a"])

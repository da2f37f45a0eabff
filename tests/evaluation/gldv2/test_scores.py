"""The scores of Google Landmarks v2 against loops written out and cases worked by hand."""

import numpy as np
import pytest
from bounds import FLOAT64

from dolg_zoo.evaluation import mean_average_precision_at, micro_average_precision
from dolg_zoo.evaluation.gldv2.scores import recognise


@pytest.mark.parametrize(
    ("predicted", "relevant", "expected"),
    [
        (["a"], "a", 1),
        (["x", "a"], "a", 1 / 2),
        (["a", "x", "b"], "ab", (1 + 2 / 3) / 2),
        (["a"], "ab", 1 / 2),  # of two only one is found
        (["a", "a", "b"], "ab", (1 + 2 / 3) / 2),  # the second a takes a rank and finds nothing
        ([], "a", 0),
        (["x"] * 100 + ["a"], "a", 0),  # beyond rank 100
    ],
)
def test_average_precision_worked_out_by_hand(predicted, relevant, expected):
    score = mean_average_precision_at({"q": predicted}, {"q": set(relevant)})
    assert score == pytest.approx(expected, abs=FLOAT64)


def test_no_more_than_100_can_be_asked_for():
    relevant = {f"image{number}" for number in range(250)}
    best = [f"image{number}" for number in range(100)]
    assert mean_average_precision_at({"q": best}, {"q": relevant}) == pytest.approx(1)
    half = ["other"] * 50 + best[:50]
    expected = sum(hits / (50 + hits) for hits in range(1, 51)) / 100
    assert mean_average_precision_at({"q": half}, {"q": relevant}) == pytest.approx(expected)


def test_a_query_without_a_prediction_counts_as_nothing_found():
    solution = {"q": {"a"}, "r": {"b"}}
    assert mean_average_precision_at({"q": ["a"]}, solution) == 1 / 2
    assert mean_average_precision_at({"q": ["a"], "other": ["x"]}, solution) == 1 / 2
    with pytest.raises(ValueError, match="no query"):
        mean_average_precision_at({}, {})


def test_map_at_100_is_the_formula(rng):
    images = [f"image{number}" for number in range(400)]
    solution, predictions, expected = {}, {}, []
    for query in range(30):
        relevant = {str(image) for image in rng.choice(images, rng.integers(1, 200))}
        predicted = rng.permutation(images)[: rng.integers(0, 150)].tolist()
        solution[str(query)], predictions[str(query)] = relevant, predicted
        total = 0
        for rank in range(1, min(100, len(predicted)) + 1):
            if predicted[rank - 1] in relevant:
                total += len(relevant & set(predicted[:rank])) / rank
        expected.append(total / min(len(relevant), 100))
    score = mean_average_precision_at(predictions, solution)
    assert score == pytest.approx(np.mean(expected), abs=FLOAT64)


def test_micro_ap_worked_out_by_hand():
    solution = {"a": {1}, "b": {2, 3}, "c": set(), "d": {4}}
    # by confidence: a right (1/1), c wrong for it shows nothing, b right (2/3), d wrong
    predictions = {"a": (1, 0.9), "b": (3, 0.5), "c": (7, 0.7), "d": (1, 0.1)}
    assert micro_average_precision(predictions, solution) == pytest.approx((1 + 2 / 3) / 3)
    # without the guess for c: b is right at rank 2
    del predictions["c"]
    assert micro_average_precision(predictions, solution) == pytest.approx((1 + 2 / 2) / 3)
    assert micro_average_precision({}, solution) == 0


def test_micro_ap_breaks_ties_by_the_query_and_leaves_out_strangers():
    solution = {"a": {1}, "b": {2}}
    first = {"b": (2, 0.5), "a": (9, 0.5)}  # a, wrong, comes before b
    assert micro_average_precision(first, solution) == pytest.approx((1 / 2) / 2)
    stranger = {"0": (5, 0.9), "b": (2, 0.5)}
    assert micro_average_precision(stranger, solution) == pytest.approx(1 / 2)


def test_micro_ap_needs_a_landmark_to_find():
    with pytest.raises(ValueError, match="no query of the solution shows a landmark"):
        micro_average_precision({"a": (1, 0.5)}, {"a": set()})


def test_micro_ap_is_the_formula(rng):
    solution = {f"{q:02}": set(rng.integers(0, 5, rng.integers(0, 3)).tolist()) for q in range(50)}
    predictions = {
        query: (int(rng.integers(0, 5)), float(rng.integers(0, 9))) for query in list(solution)[:40]
    }
    ranking = sorted(predictions, key=lambda query: (-predictions[query][1], query))
    total = right = 0
    for rank, query in enumerate(ranking, 1):
        if predictions[query][0] in solution[query]:
            right += 1
            total += right / rank
    expected = total / sum(1 for landmarks in solution.values() if landmarks)
    assert micro_average_precision(predictions, solution) == pytest.approx(expected, abs=FLOAT64)


def test_neighbours_vote_with_their_similarity():
    landmarks = np.array([10, 20, 20, 30])
    scores = np.array([[0.9, 0.5, 0.5], [0.9, 0.5, 0.2], [0.4, 0.4, 0.0], [0.5, -np.inf, -np.inf]])
    places = np.array([[0, 1, 2], [0, 1, 2], [3, 0, 1], [1, -1, -1]])
    votes = recognise(scores, places, landmarks)
    assert [landmark for landmark, _ in votes] == [20, 10, 30, 20]
    assert [confidence for _, confidence in votes] == pytest.approx([1.0, 0.9, 0.4, 0.5])
    assert recognise(np.full((1, 2), -np.inf), np.full((1, 2), -1), landmarks) == [None]

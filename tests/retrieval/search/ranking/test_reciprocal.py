import math

import numpy as np
import pytest
from bounds import COSINE

from dolg_zoo.retrieval.search.ranking import rerank


def reranked_by_hand(query, places, gallery, k1, k2, weight):
    """The published method over the query (node 0) and its list, set by set."""
    nodes = [query.astype(float)] + [gallery[place].astype(float) for place in places]
    count = len(nodes)
    distance = [[max(0.0, 2 - 2 * float(a @ b)) for b in nodes] for a in nodes]
    for row in distance:
        most = max(row)
        row[:] = [value / most for value in row]

    def nearest(node, k):  # itself first
        others = sorted((n for n in range(count) if n != node), key=lambda n: distance[node][n])
        return [node, *others][: k + 1]

    def reciprocal(node, k):
        return {other for other in nearest(node, k) if node in nearest(other, k)}

    def encoded(node):
        members = set(reciprocal(node, k1))
        for other in reciprocal(node, k1):
            narrower = reciprocal(other, round(k1 / 2))
            if 3 * len(narrower & reciprocal(node, k1)) >= 2 * len(narrower):
                members |= narrower
        values = [math.exp(-distance[node][n]) if n in members else 0.0 for n in range(count)]
        return [value / sum(values) for value in values]

    plain = [encoded(node) for node in range(count)]
    smooth = [np.mean([plain[n] for n in nearest(node, k2 - 1)], axis=0) for node in range(count)]
    final = []
    for node in range(1, count):
        least = sum(min(a, b) for a, b in zip(smooth[0], smooth[node], strict=True))
        most = sum(max(a, b) for a, b in zip(smooth[0], smooth[node], strict=True))
        final.append((1 - weight) * (1 - least / most) + weight * distance[0][node])
    return [places[turn] for turn in sorted(range(count - 1), key=lambda turn: final[turn])]


@pytest.mark.parametrize(
    ("k1", "k2", "weight"), [(10, 3, 0.3), (20, 6, 0.3), (5, 1, 0.05), (7, 2, 0.9), (3, 2, 0.1)]
)
def test_the_order_is_that_of_the_published_formula(queries, search, gallery, k1, k2, weight):
    queries = queries[:3]
    scores, places = search(queries, 30)
    _, found = rerank(queries, scores, places, gallery, k1, k2, weight)
    expected = [
        reranked_by_hand(query, list(row), gallery, k1, k2, weight)
        for query, row in zip(queries, places, strict=True)
    ]
    assert (found != places).any()
    np.testing.assert_array_equal(found, expected)


def test_weight_1_leaves_the_order_as_it_was(queries, search, gallery):
    scores, places = search(queries, 40)
    np.testing.assert_array_equal(rerank(queries, scores, places, gallery, weight=1)[1], places)


def test_each_score_goes_where_its_image_goes(queries, search, gallery):
    given = search(queries, 30)
    scores, places = rerank(queries, *given, gallery)
    expected = np.take_along_axis(queries @ gallery.T, places, axis=1)
    np.testing.assert_allclose(scores, expected, atol=COSINE)


def test_what_was_given_is_not_changed(queries, search, gallery):
    scores, places = search(queries, 30)
    before = scores.copy(), places.copy()
    rerank(queries, scores, places, gallery)
    np.testing.assert_array_equal((scores, places), before)


def test_the_nearest_image_goes_back_if_it_is_nearer_to_those_of_another_place(search_of):
    #          another place's ……………………  the nearest  the query's own ……
    degrees = [-38, -39, -40, -41, -25, 26, 27, 28, 29]
    angles = np.radians(degrees)
    gallery = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    query = np.float32([[1, 0]])
    scores, places = search_of(gallery)(query, 9)
    assert places[0, :4].tolist() == [4, 5, 6, 7]
    _, found = rerank(query, scores, places, gallery, k1=4, k2=1, weight=0.1)
    assert found[0, :3].tolist() == [5, 6, 7]


def test_places_left_empty_stay_last(queries, search, gallery):
    scores, places = search(queries, 20)
    padded = (
        np.pad(scores, ((0, 0), (0, 5)), constant_values=-9),
        np.pad(places, ((0, 0), (0, 5)), constant_values=-1),
    )
    found = rerank(queries, *padded, gallery)
    np.testing.assert_array_equal(found[1][:, 20:], -1)
    np.testing.assert_array_equal(found[1][:, :20], rerank(queries, scores, places, gallery)[1])


@pytest.mark.parametrize("length", [0, 1, 2])
def test_lists_too_short_to_say_anything_keep_their_order(queries, search, gallery, length):
    scores, places = search(queries, length)
    np.testing.assert_array_equal(rerank(queries, scores, places, gallery)[1], places)


def test_equal_images_keep_their_order(search_of):
    gallery = np.float32([[0, 1], [1, 0], [1, 0], [1, 0]])
    query = np.float32([[1, 0]])
    scores, places = search_of(gallery)(query, 4)
    _, found = rerank(query, scores, places, gallery, k1=2, k2=1)
    assert np.isfinite(scores).all()
    assert found[0, -1] == 0

import numpy as np
from bounds import COSINE
from unit_rows import unit_rows

from dolg_zoo.evaluation.search import exact_search, improved, nearest
from dolg_zoo.retrieval.extraction.collection import Collection
from dolg_zoo.retrieval.search.ranking import Ranking, augment_database, expand_queries, rerank


def in_parts(gallery, *cuts):
    parts = np.split(gallery, cuts)
    return Collection([str(n) for n in range(len(gallery))], gallery.shape[1], lambda: iter(parts))


def test_parts_are_searched_as_one(rng):
    queries, gallery = unit_rows(rng, 7, 16), unit_rows(rng, 200, 16)
    scores, places = nearest(queries, in_parts(gallery, 3, 3, 90, 199), 10, Ranking())
    similarities = queries @ gallery.T
    expected = np.argsort(-similarities, axis=1)[:, :10]
    assert places.tolist() == expected.tolist()
    np.testing.assert_allclose(scores, np.take_along_axis(similarities, expected, 1), atol=COSINE)


def test_fewer_images_than_wanted_leave_places_of_none(rng):
    queries, gallery = unit_rows(rng, 2, 4), unit_rows(rng, 3, 4)
    _, places = nearest(queries, in_parts(gallery, 1), 5, Ranking())
    assert sorted(places[0].tolist()) == [-1, -1, 0, 1, 2]
    assert places[:, 3:].tolist() == [[-1, -1]] * 2


def test_no_image_finds_itself_even_among_its_equals(rng):
    gallery = unit_rows(rng, 30, 8)
    gallery[5] = gallery[9] = gallery[20]
    _, places = exact_search(gallery, leave_out_own=True)(gallery, 40)
    assert places.shape == (30, 29)
    for row, found in enumerate(places.tolist()):
        assert sorted([*found, row]) == list(range(30))


def test_options_are_applied_one_after_the_other(rng):
    queries, gallery = unit_rows(rng, 5, 16), unit_rows(rng, 60, 16)
    options = Ranking(expand=4, alpha=2.0, rerank=20, k1=6, k2=2, weight=0.4, dba=3)
    found = improved(queries, gallery, options)

    augmented = augment_database(gallery, exact_search(gallery), 3, 2.0)
    expanded = expand_queries(queries, exact_search(augmented), augmented, 4, 2.0)
    similarities = expanded @ augmented.T
    places = np.argsort(-similarities, axis=1)[:, :20]
    scores = np.take_along_axis(similarities, places, 1)
    _, first = rerank(expanded, scores, places, augmented, 6, 2, 0.4)
    for value, expected in zip(found, (expanded, augmented, first), strict=True):
        np.testing.assert_allclose(value, expected, atol=COSINE)
    _, best = nearest(queries, in_parts(gallery, 25), 8, options)
    assert best.tolist() == first[:, :8].tolist()


def test_some_images_of_parts(rng):
    gallery = unit_rows(rng, 9, 4)
    keep = np.array([1, 0, 0, 0, 1, 1, 0, 1, 0], bool)
    some = in_parts(gallery, 2, 4).only(keep)
    assert some.names == ["0", "4", "5", "7"]
    np.testing.assert_array_equal(some.read(), gallery[keep])
    order = ["7", "0", "5", "4"]
    np.testing.assert_array_equal(some.in_order(order), gallery[[7, 0, 5, 4]])

import numpy as np
import pytest
from bounds import COSINE
from unit_rows import unit

from dolg_zoo.retrieval.search.ranking import expand_queries, expansion


def expanded_by_hand(query, gallery, n, alpha):
    """The published formula, in double precision, one neighbour at a time."""
    query = query.astype(float)
    cosines = [float(query @ image) for image in gallery.astype(float)]
    nearest = sorted(range(len(gallery)), key=lambda place: -cosines[place])[:n]
    total = query.copy()
    for place in nearest:
        total += max(0.0, cosines[place]) ** alpha * gallery[place].astype(float)
    return total / np.sqrt((total**2).sum())


@pytest.mark.parametrize(("n", "alpha"), [(1, 3.0), (10, 3.0), (10, 1), (5, 0.5), (4, 0), (50, 3)])
def test_expanded_queries_are_the_published_formula(queries, search, gallery, n, alpha):
    expected = [expanded_by_hand(query, gallery, n, alpha) for query in queries]
    found = expand_queries(queries, search, gallery, n, alpha)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=COSINE)


def test_more_neighbours_than_the_gallery_has_are_all_of_them(queries, search, gallery):
    few, many = (expand_queries(queries, search, gallery, n) for n in (len(gallery), 10_000))
    np.testing.assert_array_equal(few, many)


def test_images_that_point_the_other_way_do_not_count(search_of):
    query = unit(np.array([[1.0, 0.2]]))
    gallery = unit(np.array([[1.0, 0.0], [-1.0, 0.1], [-0.5, -1.0]]))
    np.testing.assert_allclose(
        expand_queries(query, search_of(gallery), gallery, n=3),
        expand_queries(query, search_of(gallery[:1]), gallery, n=1),
    )


def test_a_query_that_its_neighbours_cancel_out_stays_as_it_is(search_of):
    query, gallery = np.float32([[1, 0]]), np.float32([[-1, 0]])
    found = expand_queries(query, search_of(gallery), gallery, n=1, alpha=0)
    np.testing.assert_array_equal(found, query)


@pytest.mark.parametrize("alpha", [0, 3])
def test_places_that_an_approximate_search_left_empty_do_not_count(queries, gallery, alpha):
    def search(queries, k):
        return np.float32([[1, -np.finfo(np.float32).max]] * 7), np.array([[3, -1]] * 7)

    expected = queries + (queries @ gallery[3] * 0 + 1)[:, None] * gallery[3]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(
        expand_queries(queries, search, gallery, 2, alpha), expected, atol=COSINE
    )


def test_a_memory_map_of_half_precision_is_read_in_blocks(
    queries, gallery, search_of, tmp_path, monkeypatch
):
    np.save(tmp_path / "gallery.npy", gallery.astype(np.float16))
    mapped = np.load(tmp_path / "gallery.npy", mmap_mode="r")
    whole = expand_queries(queries, search_of(mapped), gallery.astype(np.float16).astype("f"))
    monkeypatch.setattr(expansion, "MAX_VALUES", 2 * 10 * 16)  # two queries at a time
    blocks = expand_queries(queries, search_of(mapped), mapped)
    np.testing.assert_allclose(blocks, whole, atol=COSINE)


def test_no_queries_are_expanded_to_none(search, gallery):
    assert expand_queries(np.zeros((0, 16), np.float32), search, gallery).shape == (0, 16)

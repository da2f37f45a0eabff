import numpy as np
import pytest
from bounds import COSINE
from memory import peak_bytes
from unit_rows import unit, unit_rows

from dolg_zoo.retrieval.search import duplicates as duplicates_module
from dolg_zoo.retrieval.search import exact as nearest
from dolg_zoo.retrieval.search.approximate import Approximate
from dolg_zoo.retrieval.search.duplicates import duplicates
from dolg_zoo.retrieval.search.exact import Exact


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(nearest, "ROWS", 64)
    monkeypatch.setattr(nearest, "QUERIES", 7)


@pytest.mark.parametrize("queries", [1, 7, 20])
@pytest.mark.parametrize("k", [1, 10, 130])
def test_the_nearest_are_those_of_a_full_sort(rng, small_blocks, queries, k):
    rows, queries = unit_rows(rng, 130, 16), unit_rows(rng, queries, 16)
    cosines = queries.astype(np.float64) @ rows.T.astype(np.float64)
    scores, places = Exact(rows).search(queries, k)
    np.testing.assert_array_equal(places, np.argsort(-cosines, axis=1)[:, :k])
    np.testing.assert_allclose(scores, -np.sort(-cosines, axis=1)[:, :k], atol=COSINE)


def test_rows_mapped_from_a_file_are_not_copied(rng, tmp_path):
    rows = unit_rows(rng, 40_000, 64)
    np.save(tmp_path / "rows.npy", rows)
    mapped, queries = np.load(tmp_path / "rows.npy", mmap_mode="r"), rows[:4].copy()

    def search():
        assert Exact(mapped).search(queries, 3)[1][:, 0].tolist() == [0, 1, 2, 3]

    assert any(peak_bytes(search) < 0.2 * rows.nbytes for _ in range(3))


def test_no_rows_give_no_results_and_have_no_duplicates():
    empty = Exact(np.empty((0, 4), np.float32))
    scores, places = empty.search(np.eye(2, 4, dtype=np.float32), 3)
    assert scores.shape == places.shape == (2, 0)
    assert duplicates(empty, 0.9) == []


def test_within_finds_all_from_the_threshold_on(rng, small_blocks):
    rows, queries = unit_rows(rng, 300, 4), unit_rows(rng, 10, 4)
    cosines = queries @ rows.T
    scores, query, place = Exact(rows).within(queries, 0.7)
    expected = set(zip(*np.nonzero(cosines >= 0.7), strict=True))
    assert set(zip(query, place, strict=True)) == expected and len(place) == len(expected) > 100
    np.testing.assert_allclose(scores, cosines[query, place], atol=COSINE)


def test_rows_that_get_better_and_better_are_found(rng, small_blocks):
    queries = unit_rows(rng, 3, 8)
    rows = unit_rows(rng, 500, 8)
    rows = rows[np.argsort(rows @ queries[0])]  # each block beats all before it
    scores, places = Exact(rows).search(queries, 5)
    assert places[0].tolist() == [499, 498, 497, 496, 495]
    np.testing.assert_array_equal(places, np.argsort(-(queries @ rows.T), axis=1)[:, :5])
    np.testing.assert_allclose(scores, -np.sort(-(queries @ rows.T), axis=1)[:, :5], atol=COSINE)


def test_of_equal_rows_the_first_come_first(small_blocks):
    rows = np.tile(np.eye(4, dtype=np.float32), (50, 1))
    places = Exact(rows).search(np.eye(2, 4, dtype=np.float32), 6)[1]
    assert places.tolist() == [[0, 4, 8, 12, 16, 20], [1, 5, 9, 13, 17, 21]]


def groups_by_flooding(cosines, threshold):
    """Groups of two or more, by walking from each row to all that can be reached."""
    left, groups = set(range(len(cosines))), []
    while left:
        group, border = set(), {min(left)}
        while border:
            row = border.pop()
            group.add(row)
            border |= set(np.flatnonzero(cosines[row] >= threshold)) - group
        left -= group
        if len(group) > 1:
            groups.append(sorted(group))
    return groups


@pytest.mark.parametrize("most_pairs", [3, 2**22])
def test_duplicates_are_what_chains_of_alike_rows_join(rng, small_blocks, monkeypatch, most_pairs):
    monkeypatch.setattr(duplicates_module, "MAX_PAIRS", most_pairs)
    monkeypatch.setattr(duplicates_module, "QUERIES", 20)
    rows = unit_rows(rng, 200, 6)
    expected = groups_by_flooding(rows @ rows.T, 0.93)
    assert len(expected) > 5 and max(map(len, expected)) > 2
    assert [group.tolist() for group in duplicates(Exact(rows), 0.93)] == expected


def test_an_approximate_search_finds_copies_too(rng):
    rows = unit_rows(rng, 400, 16)
    rows[300] = rows[5]
    groups = duplicates(Approximate.build("hnsw", rows, 0.95), 0.999)
    assert [group.tolist() for group in groups] == [[5, 300]]


def test_many_copies_do_not_hide_what_is_nearly_the_same(rng):
    rows = unit_rows(rng, 1000, 16)
    rows[200:600] = rows[5]
    rows[700] = unit(rows[5] + 0.01 * unit_rows(rng, 1, 16)[0])
    groups = duplicates(Approximate.build("hnsw", rows, 0.95), 0.999)
    assert [group.tolist() for group in groups] == [[5, *range(200, 600), 700]]

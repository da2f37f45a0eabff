import logging

import numpy as np
import pytest
from bounds import COSINE
from unit_rows import unit, unit_rows

from dolg_zoo.retrieval.search import approximate
from dolg_zoo.retrieval.search.approximate import Approximate, kind_for
from dolg_zoo.retrieval.search.exact import Exact

KINDS = ["hnsw", "ivfpq"]


@pytest.fixture(autouse=True)
def _one_thread():
    """For so little work, faiss' threads spend most of their time on each other."""
    import faiss

    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(threads)


def clustered(rng, rows=1500, dim=32):
    """Rows around a hundred centers, as photographs of a hundred places are."""
    centers = rng.standard_normal((100, dim))
    descriptors = centers[rng.integers(100, size=rows)] + 0.5 * rng.standard_normal((rows, dim))
    return unit(descriptors)


def recall_of(search, descriptors, places):
    """Share of the ten nearest others, by a full sort, that a search finds."""
    cosines = descriptors[places] @ descriptors.T
    cosines[np.arange(len(places)), places] = -np.inf
    truth = np.argsort(-cosines, axis=1)[:, :10]
    found = search(descriptors[places], 11)[1]
    return np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truth, found, strict=True)])


@pytest.mark.parametrize("kind", KINDS)
def test_the_recall_asked_for_is_reached(rng, kind):
    rows = clustered(rng)
    built = Approximate.build(kind, rows, 0.95)
    assert built.recall >= 0.95
    assert recall_of(built.search, rows, np.arange(0, 1500, 3)) >= 0.93


@pytest.mark.parametrize("kind", KINDS)
def test_the_recall_told_is_that_of_a_full_sort(rng, kind):
    rows = clustered(rng)
    built = Approximate.build(kind, rows, 0.0)
    if kind == "ivfpq":
        built.parameters = {"nprobe": 1, "shortlist": 16}
    else:
        built.parameters = {"efSearch": 4}
    built.asked = 0.0
    built.tune()
    sample = np.random.default_rng(0).choice(1500, approximate.SAMPLE, replace=False)
    expected = recall_of(built.search, rows, np.sort(sample))
    assert built.recall == pytest.approx(expected, abs=1e-9)
    assert built.recall < 0.999


@pytest.mark.parametrize("kind", KINDS)
def test_a_higher_recall_searches_farther(rng, kind, monkeypatch):
    first = {"hnsw": {"efSearch": 11}, "ivfpq": {"nprobe": 1, "shortlist": 12}}
    monkeypatch.setattr(approximate, "_FIRST", first)
    rows = clustered(rng)
    low, high = Approximate.build(kind, rows, 0.1), Approximate.build(kind, rows, 0.995)
    assert low.parameters == first[kind] and high.recall >= 0.995 > low.recall
    assert all(high.parameters[name] >= low.parameters[name] for name in low.parameters)


def test_a_recall_that_may_be_the_luck_of_the_sample_is_not_enough(rng, monkeypatch):
    """Of 200 shares half 0.98 and half 1 the mean's standard error is 0.01 / sqrt(200) = 0.0007.

    It is sure to be 0.9886 at least, so at most 0.0114 are missed, and twice that may be asked for.
    """
    shares = np.repeat([0.98, 1.0], 100)
    monkeypatch.setattr(Approximate, "_measured", lambda *_: shares)
    rows = clustered(rng, 300)
    enough, short = (Approximate.build("hnsw", rows, asked) for asked in (0.977, 0.978))
    assert enough.parameters["efSearch"] == approximate._FIRST["hnsw"]["efSearch"]
    assert short.parameters["efSearch"] >= approximate.MOST
    assert enough.recall == short.recall == pytest.approx(0.99)


def test_a_recall_that_cannot_be_reached_is_said(rng, monkeypatch, caplog):
    monkeypatch.setattr(approximate, "MOST", 1)
    monkeypatch.setattr(Approximate, "_measured", lambda *_: np.full(200, 0.5))
    with caplog.at_level(logging.WARNING):
        assert Approximate.build("hnsw", clustered(rng, 300), 0.9).recall == 0.5
    assert "finds 0.500" in caplog.text and "0.900" in caplog.text


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_exact_cosines_in_descending_order(rng, kind):
    rows = clustered(rng)
    queries = unit(rows[:20] + 0.01)
    scores, places = Approximate.build(kind, rows, 0.9).search(queries, 5)
    cosines = np.take_along_axis(queries @ rows.T, places, axis=1)
    np.testing.assert_allclose(scores, cosines, atol=COSINE)
    assert (np.diff(scores, axis=1) <= 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_removed_rows_are_not_found_and_new_ones_are(rng, kind):
    rows = clustered(rng)
    kept = np.flatnonzero(np.arange(1500) % 5 != 0)
    after = np.concatenate([rows[kept], clustered(rng, 50)])
    built = Approximate.build(kind, rows, 0.95)
    changed = built.changed(kept, after)
    assert changed.faiss_index is built.faiss_index
    assert changed.search(after, 1)[1][:, 0].tolist() == list(range(len(after)))
    assert all(len(set(row)) == 20 for row in changed.search(after[:50], 20)[1])
    assert changed.recall >= 0.95
    assert recall_of(changed.search, after, np.arange(0, len(after), 5)) >= 0.93


def test_when_a_third_is_gone_it_is_built_anew(rng):
    rows = clustered(rng)
    built = Approximate.build("hnsw", rows, 0.9)
    changed = built.changed(np.arange(900), rows[:900])
    assert changed.faiss_index.ntotal == 900
    assert changed.search(rows[:900], 1)[1][:, 0].tolist() == list(range(900))


def test_what_is_left_of_few_rows_is_exact(rng):
    rows = clustered(rng, 300)
    assert type(Approximate.build("hnsw", rows, 0.9).changed(np.arange(9), rows[:9])) is Exact


@pytest.mark.parametrize("kind", KINDS)
def test_all_rows_can_be_asked_for(rng, kind):
    rows = clustered(rng, 300)
    scores, places = Approximate.build(kind, rows, 0.9).search(rows[:3], 1000)
    assert places.shape == (3, 300)
    for row_scores, row in zip(scores, places, strict=True):
        found = row[row >= 0]
        assert len(set(found)) == len(found) > 20
        assert (row[len(found) :] == -1).all() and (row_scores[len(found) :] == -1).all()


@pytest.mark.parametrize(
    "rows, kind", [(10, "exact"), (200_000, "exact"), (200_001, "hnsw"), (5_000_001, "ivfpq")]
)
def test_auto_goes_by_the_number_of_rows(rows, kind):
    assert kind_for(rows, "auto") == kind


def test_a_kind_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match=r"exact, hnsw, ivfpq, got 'lsh'"):
        kind_for(10, "lsh")


def with_copies(rng, copies, groups=1, others=600):
    """Rows, and which of them are not copies of one another."""
    rows = unit_rows(rng, others + groups, 16)
    which = np.concatenate([np.arange(others), np.repeat(np.arange(others, len(rows)), copies)])
    which = rng.permutation(which)
    return rows[which], which < others


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("copies", "groups"), [(2000, 1), (100, 20)])
def test_copies_of_an_image_do_not_hide_the_others(rng, kind, copies, groups):
    rows, is_other = with_copies(rng, copies, groups)
    search = Approximate.build(kind, rows, 0.95)
    others = np.flatnonzero(is_other)
    assert (search.search(rows[others], 1)[1][:, 0] == others).mean() > 0.98
    tenth = np.sort(rows[others[:200]] @ rows.T, axis=1)[:, -11]  # with the query itself
    scores = search.search(rows[others[:200]], 11)[0]
    assert (scores >= tenth[:, None] - COSINE).mean() > 0.9
    assert search.recall >= 0.95
    # and of the copies, those with the lowest indices are found
    copy = np.flatnonzero(~is_other)[:5]
    expected = Exact(rows).search(rows[copy], 12)
    found = search.search(rows[copy], 12)
    np.testing.assert_allclose(found[0], expected[0], atol=COSINE)
    first = [np.flatnonzero((rows == row).all(axis=1))[:12] for row in rows[copy]]
    assert np.array_equal(found[1], first)


@pytest.mark.parametrize("kind", KINDS)
def test_copies_that_are_added_and_removed_are_found_as_often_as_they_are_there(rng, kind):
    rows, is_other = with_copies(rng, 400)
    search = Approximate.build(kind, rows, 0.95)
    copy = np.flatnonzero(~is_other)
    kept = np.delete(np.arange(len(rows)), copy[:390])
    more = np.concatenate([rows[kept], np.repeat(rows[copy[:1]], 7, 0), rows[is_other][:3]])
    search = search.changed(kept, more)
    scores, indices = search.search(rows[copy[:1]], 30)
    same = np.flatnonzero((more == rows[copy[0]]).all(axis=1))
    assert len(same) == 17 and set(same) == set(indices[0][scores[0] > 1 - 1e-6])
    others = np.flatnonzero(is_other)[:3]
    assert [
        len(set(found[scores > 1 - 1e-6]))
        for scores, found in zip(*search.search(rows[others], 5), strict=True)
    ] == [2, 2, 2]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_are_all_the_same_are_searched(rng, kind):
    rows = np.repeat(with_copies(rng, 0)[0][:1], 1000, 0)
    scores, indices = Approximate.build(kind, rows, 0.95).search(rows[:2], 5)
    assert indices.tolist() == [[0, 1, 2, 3, 4]] * 2
    np.testing.assert_allclose(scores, 1, rtol=0, atol=COSINE)

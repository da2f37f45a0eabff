import math

import numpy as np
import pytest

from dolg_zoo.retrieval.search.ranking import Ranking, expand_queries, ranked, rerank


def test_without_options_it_is_the_search(queries, search, gallery):
    found = ranked(queries, search, gallery, 5, Ranking())
    for array, expected in zip(found, search(queries, 5), strict=True):
        np.testing.assert_array_equal(array, expected)


def test_expansion_searches_with_the_expanded_queries(queries, search, gallery):
    _, places = ranked(queries, search, gallery, 9, Ranking(expand=6, alpha=1.0))
    expanded = expand_queries(queries, search, gallery, 6, 1.0)
    np.testing.assert_array_equal(places, search(expanded, 9)[1])


def test_re_ranking_brings_up_what_is_beyond_k(queries, search, gallery):
    options = Ranking(rerank=40, k1=10, k2=3)
    _, places = ranked(queries, search, gallery, 12, options)
    _, expected = rerank(queries, *search(queries, 40), gallery, 10, 3)
    np.testing.assert_array_equal(places, expected[:, :12])
    assert any(set(new) - set(old) for new, old in zip(places, search(queries, 12)[1], strict=True))


def test_results_after_the_re_ranked_ones_stay_where_they_are(queries, search, gallery):
    _, places = ranked(queries, search, gallery, 50, Ranking(rerank=20))
    _, plain = search(queries, 50)
    assert (places[:, :20] != plain[:, :20]).any()
    np.testing.assert_array_equal(places[:, 20:], plain[:, 20:])


def test_expanded_queries_are_what_is_re_ranked_with(queries, search, gallery):
    _, places = ranked(queries, search, gallery, 20, Ranking(expand=5, rerank=20))
    expanded = expand_queries(queries, search, gallery, 5)
    np.testing.assert_array_equal(places, rerank(expanded, *search(expanded, 20), gallery)[1])


def test_a_search_may_leave_out_each_query_itself(gallery, search):
    def others(queries, k):
        scores, places = search(queries, 60)
        kept = places != np.arange(60)[:, None]
        return scores[kept].reshape(60, 59)[:, :k], places[kept].reshape(60, 59)[:, :k]

    options = Ranking(expand=5, rerank=30)
    scores, places = ranked(gallery, others, gallery, 60, options)
    assert places.shape == scores.shape == (60, 59)
    for own, row in enumerate(places):
        assert sorted([own, *row]) == list(range(60))


def test_more_results_than_the_gallery_has_are_all_of_them(queries, search, gallery):
    _, places = ranked(queries, search, gallery, 1000, Ranking(expand=1000, rerank=1000))
    assert [sorted(row) for row in places] == [list(range(60))] * 7


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"expand": -1}, "expand must be a whole number of at least 0, got -1"),
        ({"expand": True}, "expand must be a whole number of at least 0, got True"),
        ({"rerank": 2.0}, "rerank must be a whole number from 0 to 4096, got 2.0"),
        ({"rerank": 10**6}, "rerank must be a whole number from 0 to 4096, got 1000000"),
        ({"dba": -1}, "dba must be a whole number of at least 0, got -1"),
        ({"k1": 0}, "k1 must be a whole number of at least 1, got 0"),
        ({"k2": 0}, "k2 must be a whole number of at least 1, got 0"),
        ({"alpha": -0.5}, "alpha must be a number of at least 0, got -0.5"),
        ({"alpha": math.nan}, "alpha must be a number of at least 0, got nan"),
        ({"alpha": math.inf}, "alpha must be a number of at least 0, got inf"),
        ({"weight": 1.5}, "weight must be a number from 0 to 1, got 1.5"),
        ({"weight": "0.3"}, "weight must be a number from 0 to 1, got '0.3'"),
    ],
)
def test_an_option_out_of_its_range_is_named(values, message):
    with pytest.raises(ValueError, match=message):
        Ranking(**values)

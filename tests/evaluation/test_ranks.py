import numpy as np
import pytest

from dolg_zoo.evaluation import ranks as ranks_module
from dolg_zoo.evaluation.ranks import ranks


def by_sorting(queries, everything, wanted, first=None):
    """Ranks from a stable sort of everything."""
    found = []
    for row, query in enumerate(queries):
        scores = everything @ query
        order = sorted(range(len(everything)), key=lambda place: -scores[place])
        if first is not None:
            head = [place for place in first[row].tolist() if place >= 0]
            order = head + [place for place in order if place not in head]
        found.append([order.index(place) for place in wanted[row]])
    return found


@pytest.fixture
def coarse(rng):
    """Descriptors of a few binary fractions: no rounding, any number of ties, up to length 1."""

    def make(*shape):
        return rng.integers(-2, 3, shape).astype(np.float32) / 4

    return make


@pytest.fixture
def case(rng, coarse):
    queries, gallery, distractors = coarse(6, 4), coarse(40, 4), coarse(300, 4)
    wanted = [rng.choice(40, size, replace=False) for size in (0, 1, 5, 9, 20, 40)]
    return queries, gallery, distractors, wanted


def test_ranks_are_those_of_a_stable_sort_ties_and_all(case):
    queries, gallery, _, wanted = case
    found = ranks(queries, gallery, wanted)
    assert [row.tolist() for row in found] == by_sorting(queries, gallery, wanted)


def test_distractors_are_counted_as_if_all_were_sorted(case):
    queries, gallery, distractors, wanted = case
    parts = (distractors[:7], distractors[7:7], distractors[7:250], distractors[250:])
    found = ranks(queries, gallery, wanted, parts)
    everything = np.concatenate([gallery, distractors])
    assert [row.tolist() for row in found] == by_sorting(queries, everything, wanted)


def test_what_comes_first_comes_before_all_else_in_its_order(case, rng):
    queries, gallery, distractors, wanted = case
    first = np.stack([rng.choice(340, 12, replace=False) for _ in queries])
    first[2, 9:] = -1
    found = ranks(queries, gallery, wanted, [distractors[:100], distractors[100:]], first)
    everything = np.concatenate([gallery, distractors])
    assert [row.tolist() for row in found] == by_sorting(queries, everything, wanted, first)


def test_memory_is_bounded_by_pieces_that_change_nothing(case, monkeypatch):
    queries, gallery, distractors, wanted = case
    first = np.arange(30, 60)[None].repeat(6, 0)
    whole = ranks(queries, gallery, wanted, [distractors], first)
    monkeypatch.setattr(ranks_module, "MAX_SIMILARITIES", 80)
    pieces = ranks(queries, gallery, wanted, [distractors], first)
    assert [row.tolist() for row in pieces] == [row.tolist() for row in whole]

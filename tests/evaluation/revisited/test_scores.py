import numpy as np
import pytest
from bounds import FLOAT64

from dolg_zoo.evaluation.revisited.ground_truth import GroundTruth
from dolg_zoo.evaluation.revisited.scores import KS, revisited_scores

GOLDEN = [
    f"{name}/noise{noise}/seed{seed}"
    for name in ("roxford5k", "rparis6k")
    for noise, seed in ((0.7, 0), (1.5, 1))
]

# Images whose cosines to a query differ by less than float32's rounding may change ranks. Far down
# in the ranks of one of 70 queries that moves the mean by 1e-7.
RANKS = 1e-5


@pytest.mark.parametrize("key", GOLDEN)
def test_scores_are_those_of_the_official_code(golden, described, key):
    case = described(key)
    scores = revisited_scores(case.truth, case.queries, case.gallery)
    expected = golden.read("revisited_eval")[key]
    assert scores.keys() == expected.keys()
    for setup, figures in expected.items():
        assert scores[setup].map == pytest.approx(figures["mAP"], abs=RANKS)
        found = list(scores[setup].precision_at.values())
        assert found == pytest.approx(figures["mP@1,5,10"], abs=FLOAT64)


def test_all_golden_figures_are_compared(golden):
    assert sorted(golden.read("revisited_eval")) == sorted(GOLDEN)


def truth_of(size, *entries):
    lists = {kind: [] for kind in ("easy", "hard", "junk")}
    for entry in entries:
        for kind, places in lists.items():
            places.append(np.array(entry.get(kind, []), np.int64))
    names = tuple(f"image{place}" for place in range(size))
    queries = tuple(f"query{number}" for number in range(len(entries)))
    return GroundTruth(names, queries, ((0, 0, 1, 1),) * len(entries), **lists)


def in_order(size):
    """A gallery that one query ranks in its order: the cosines fall."""
    angles = np.linspace(0.1, 1.5, size)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


QUERY = np.array([[1, 0]], np.float32)


@pytest.mark.parametrize(
    ("entry", "setup", "expected"),
    [
        # a hit at rank 1: (1 + 1/1) / 2
        ({"easy": [0]}, "easy", 1),
        # at rank 2: before it 0/1, after it 1/2
        ({"easy": [1]}, "easy", 1 / 4),
        # ranks 1 and 3: (1 + 1)/2 and (1/2 + 2/3)/2, averaged
        ({"easy": [0, 2]}, "easy", (1 + 7 / 12) / 2),
        # junk and, for easy, what is hard are not there: the hit at rank 3 is at 1
        ({"easy": [2], "hard": [0], "junk": [1]}, "easy", 1),
        # for medium both are right: ranks 1 and 2 when the junk is gone
        ({"easy": [2], "hard": [0], "junk": [1]}, "medium", 1),
        # for hard, what is easy is not there: rank 2 of 0, 2
        ({"easy": [1], "hard": [2], "junk": []}, "hard", 1 / 4),
    ],
)
def test_average_precision_worked_out_by_hand(entry, setup, expected):
    scores = revisited_scores(truth_of(5, entry), QUERY, in_order(5))
    assert scores[setup].map == pytest.approx(expected, abs=FLOAT64)


def test_precision_looks_no_further_than_the_last_hit():
    scores = revisited_scores(truth_of(20, {"easy": [0, 2]}), QUERY, in_order(20))
    # hits at ranks 1 and 3: 1 of 1, and 2 of 3 in place of 2 of 5 and 2 of 10
    assert scores["easy"].precision_at == pytest.approx({1: 1, 5: 2 / 3, 10: 2 / 3})


def test_queries_with_nothing_to_find_are_left_out():
    truth = truth_of(5, {"easy": [1]}, {"hard": [0]}, {"junk": [2]})
    scores = revisited_scores(truth, QUERY.repeat(3, 0), in_order(5))
    assert {setup: found.queries for setup, found in scores.items()} == {
        "easy": 1,
        "medium": 2,
        "hard": 1,
    }
    assert scores["easy"].map == pytest.approx(1 / 4)


def test_a_setup_in_which_nothing_can_be_found_has_no_score():
    assert revisited_scores(truth_of(5, {"easy": [1]}), QUERY, in_order(5)).keys() == {
        "easy",
        "medium",
    }


def by_sorting(truth, queries, everything):
    """The protocol with every ranking written out, junk struck from it."""
    setups = {"easy": ("easy",), "medium": ("easy", "hard"), "hard": ("hard",)}
    scores = {}
    for setup, kinds in setups.items():
        values = []
        for number, query in enumerate(queries):
            right = {int(p) for kind in kinds for p in getattr(truth, kind)[number]}
            listed = {int(p) for k in ("easy", "hard", "junk") for p in getattr(truth, k)[number]}
            if not right:
                continue
            similarities = (everything @ query).tolist()
            ranking = sorted(range(len(everything)), key=lambda place: -similarities[place])
            ranking = [place for place in ranking if place in right or place not in listed]
            area, hits, hit_ranks = 0.0, 0, []
            for rank, place in enumerate(ranking):
                if place in right:
                    before = hits / rank if rank else 1.0
                    hits += 1
                    area += (before + hits / (rank + 1)) / 2
                    hit_ranks.append(rank + 1)
            depths = [min(k, max(hit_ranks)) for k in KS]
            values.append(
                [area / len(right), *(sum(r <= k for r in hit_ranks) / k for k in depths)]
            )
        scores[setup] = np.mean(values, axis=0)
    return scores


def test_distractors_with_ties_score_as_by_a_full_sort(rng):
    entries = []
    for _ in range(8):
        places = rng.permutation(60)
        entries.append({"easy": places[:4], "hard": places[4:9], "junk": places[9:14]})
    truth = truth_of(60, *entries)
    # small whole numbers: hundreds of ties, and no rounding
    queries, gallery, more = (rng.integers(-2, 3, (n, 5)).astype(np.float32) for n in (8, 60, 500))
    scores = revisited_scores(truth, queries, gallery, [more[:123], more[123:]])
    expected = by_sorting(truth, queries, np.concatenate([gallery, more]))
    for setup, figures in expected.items():
        found = [scores[setup].map, *scores[setup].precision_at.values()]
        assert found == pytest.approx(figures.tolist(), abs=FLOAT64)
    alone = revisited_scores(truth, queries, gallery)
    assert all(scores[setup].map < alone[setup].map for setup in scores)


def test_descriptors_that_do_not_fit_are_refused():
    truth = truth_of(5, {"easy": [1]})
    with pytest.raises(ValueError, match=r"gallery must have shape \(5, dim\), not \(4, 2\)"):
        revisited_scores(truth, QUERY, in_order(4))
    with pytest.raises(ValueError, match="queries have descriptors that are not finite"):
        revisited_scores(truth, QUERY * np.nan, in_order(5))

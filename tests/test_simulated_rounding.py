"""The options of the test run that show how far its bounds are from the numbers."""

import numpy as np
import pytest
from comparisons import compares_numbers
from margins import part_used
from rounding import moved


@pytest.mark.parametrize(("dtype", "unit"), [("float32", 2**-23), ("float16", 2**-10)])
def test_results_move_by_two_units_in_the_last_place_and_the_same_each_time(rng, dtype, unit):
    values = rng.normal(size=1000).astype(dtype)
    factors = moved(values, 7, exact_stay=False)
    assert sorted(set((factors.astype(float) - 1) / unit)) == [-2, -1, 0, 1, 2]
    np.testing.assert_array_equal(moved(values, 7, exact_stay=False), factors)
    assert not np.array_equal(moved(values, 8, exact_stay=False), factors)


def test_sums_that_are_exact_in_any_order_stay():
    exact = np.array([0, 1, -0.5, 37, 1 / 1024, 2048, -100.25], "float32")
    for seed in range(10):
        np.testing.assert_array_equal(moved(exact, seed, exact_stay=True), np.ones(7, "float32"))


def test_a_comparison_uses_the_largest_part_of_its_tolerance():
    assert part_used([1.0, 2.1, 3.0], [1.0, 2.0, 3.0], 0.0, 0.4) == pytest.approx(0.25)
    assert part_used([2.1], [2.0], 0.1, 0.2) == pytest.approx(0.25)
    assert part_used("a", "a", 0, 1) is None and part_used([1.0], [1.0], 0, 0) is None


def check(values):
    np.testing.assert_allclose(values, 1.0)


def test_a_test_of_numbers_compares_them_itself_or_in_a_function_that_it_calls():
    def directly():
        assert pytest.approx(1) == 1.0

    def in_a_function():
        return [check(values) for values in ([1.0], [1.0])]

    assert compares_numbers(directly) and compares_numbers(in_a_function)
    assert not compares_numbers(lambda: len("text") == 4)
    assert not compares_numbers(np.allclose)  # no function of the tests

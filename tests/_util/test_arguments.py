import math
import re

import numpy as np
import pytest

from dolg_zoo._util.arguments import number, one_of, whole_number
from dolg_zoo.preprocessing.scales import checked_scales


@pytest.mark.parametrize("value", [1, 5, np.int64(3), np.uint8(5)])
def test_whole_numbers_of_python_and_numpy_are_taken(value):
    result = whole_number("n", value, 1, 5)
    assert result == value and type(result) is int


@pytest.mark.parametrize("value", [0, 6, -1, 2.0, True, "2", None, math.nan, np.bool_(True), [2]])
def test_what_is_no_whole_number_in_the_range_is_refused_with_its_name(value):
    with pytest.raises(ValueError, match="n must be a whole number from 1 to 5, got ") as error:
        whole_number("n", value, 1, 5)
    assert repr(value) in str(error.value)


def test_a_range_may_have_no_upper_end():
    assert whole_number("n", 10**30, 1) == 10**30
    with pytest.raises(ValueError, match="n must be a whole number of at least 1, got 0"):
        whole_number("n", 0, 1)
    with pytest.raises(ValueError, match=r"x must be a number of at least 0\.5, got 0$|got 0\."):
        number("x", 0, 0.5)


@pytest.mark.parametrize("value", [0, 1, 0.5, np.float32(0.25), np.int8(1)])
def test_numbers_of_python_and_numpy_are_taken(value):
    result = number("x", value, 0, 1)
    assert result == value and type(result) is float


@pytest.mark.parametrize("value", [-0.1, 1.1, True, "0.5", None, math.nan, math.inf, 1j])
def test_what_is_no_number_in_the_range_is_refused_with_its_name(value):
    message = re.escape(f"x must be a number from 0 to 1, got {value!r}")
    with pytest.raises(ValueError, match=message):
        number("x", value, 0, 1)


@pytest.mark.parametrize("value", [10**400, -(10**400), math.inf, math.nan])
def test_what_no_float_holds_is_refused_even_without_an_upper_end(value):
    with pytest.raises(ValueError, match="x must be a number greater than 0, got "):
        number("x", value, 0, open_ends=True)
    with pytest.raises(ValueError, match="scales must be"):
        checked_scales([value])


@pytest.mark.parametrize("value", [0, 1])
def test_ends_may_be_excluded(value):
    with pytest.raises(ValueError, match="from 0 to 1, both excluded"):
        number("x", value, 0, 1, open_ends=True)
    assert number("x", 0.5, 0, 1, open_ends=True) == 0.5
    with pytest.raises(ValueError, match="greater than 0, got 0"):
        number("x", 0, 0, open_ends=True)


@pytest.mark.parametrize("value", ["c", None, 1, ["a"]])
def test_a_name_is_one_of_those_known(value):
    assert one_of("kind", "a", ("a", "b")) == "a"
    with pytest.raises(ValueError, match=re.escape(f"kind must be one of a, b, got {value!r}.")):
        one_of("kind", value, ("a", "b"))


def test_scales_are_a_tuple_of_floats():
    assert checked_scales([1, np.float32(0.5)]) == (1.0, 0.5)


@pytest.mark.parametrize(
    "scales", [(), 1.0, "12", None, (0,), (-1,), (8.1,), (math.nan,), (True,), ("1",), (1,) * 17]
)
def test_other_scales_are_refused(scales):
    with pytest.raises(ValueError, match="scales must be one to 16 numbers above 0 and up to 8"):
        checked_scales(scales)

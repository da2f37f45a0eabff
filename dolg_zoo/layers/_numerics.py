from numbers import Real
from typing import Any

from keras import backend


def wide_dtype(dtype: str) -> str:
    """The dtype to sum squares, powers or many places in: never narrower than float32."""
    return backend.result_type(dtype, "float32")


def is_positive(value: Any) -> bool:
    """Whether `value` is a number above zero."""
    return isinstance(value, Real) and float(value) > 0

"""The option `--numbers`: only the tests that compare numbers, or call a function that does."""

import types
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
COMPARISONS = {
    "allclose",
    "approx",
    "array_equal",
    "assert_allclose",
    "assert_array_equal",
    "isclose",
    "isfinite",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption("--numbers", action="store_true", help="only the tests that compare numbers")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the other tests if the option is given."""
    if config.getoption("--numbers"):
        others = [item for item in items if not compares_numbers(getattr(item, "function", None))]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]


def compares_numbers(function: object, seen: set[object] | None = None) -> bool:
    """Whether a function of the tests, or one of them that it calls, compares numbers."""
    seen = set() if seen is None else seen
    if not isinstance(function, types.FunctionType) or function in seen:
        return False
    seen.add(function)
    if not Path(function.__code__.co_filename).is_relative_to(TESTS):
        return False
    names = set(names_in(function.__code__))
    called = [function.__globals__.get(name) for name in names]
    return bool(names & COMPARISONS) or any(compares_numbers(each, seen) for each in called)


def names_in(code: types.CodeType) -> Iterator[str]:
    """The names that a function's code uses, and those of the functions within it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from names_in(constant)

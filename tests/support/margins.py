"""`--margins`: how much of its tolerance each comparison of floats uses.

A comparison that uses more than a quarter of its tolerance on one processor may fail on another.
The summary lists those, largest first. One that has to stay there has its reason beside it, in a
comment that begins with `# margin:` on the line of the comparison or on one of the three above it.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

TESTS = Path(__file__).resolve().parents[1]
QUARTER = 0.25
# A comparison that is meant to fail, `assert not np.allclose(a, b)`, uses more than all of its
# tolerance. Beyond four times the tolerance no rounding changes its answer.
FAR = 4.0

Use = tuple[float, str, int, str]
"""The part of the tolerance, the file below tests/, the line, and the tolerance in words."""


def part_used(actual: Any, desired: Any, rtol: float, atol: float) -> float | None:
    """Return the largest |actual − desired| / (atol + rtol · |desired|), None if that is 0."""
    try:
        ours, theirs = np.broadcast_arrays(
            np.asarray(actual, np.float64), np.asarray(desired, np.float64)
        )
    except (TypeError, ValueError):
        return None
    tolerance = atol + rtol * np.abs(theirs)
    with np.errstate(invalid="ignore"):
        difference = np.abs(ours - theirs)
    counts = np.isfinite(difference) & (tolerance > 0)
    return float(np.max(difference[counts] / tolerance[counts])) if counts.any() else None


class Margins:
    """Notes the comparisons of the test that runs, and sums up those of all workers."""

    def __init__(self) -> None:
        self.of_test: list[Use] = []
        self.by_place: dict[tuple[str, int], tuple[Use, str]] = {}
        self.count = 0
        self._watch()

    def _watch(self) -> None:
        for owner, name, defaults in (
            (np, "allclose", (1e-5, 1e-8)),
            (np, "isclose", (1e-5, 1e-8)),
            (np.testing, "assert_allclose", (1e-7, 0.0)),
        ):
            setattr(owner, name, self._watched(getattr(owner, name), *defaults))
        scalar = type(pytest.approx(1.0))
        equals: Callable[[Any, object], bool] = scalar.__eq__

        def watched_equals(expected: Any, actual: object) -> bool:
            try:
                tolerance = float(expected.tolerance)
            except (TypeError, ValueError):  # of a word, or of NaN
                tolerance = 0.0
            if tolerance > 0:
                used = part_used(actual, expected.expected, 0.0, tolerance)
                self.note(used, f"approx ± {tolerance:.2g}")
            return equals(expected, actual)

        scalar.__eq__ = watched_equals  # type: ignore[method-assign]

    def _watched(self, compare: Callable[..., Any], rtol: float, atol: float) -> Callable[..., Any]:
        def watched(
            actual: Any, desired: Any, rtol: float = rtol, atol: float = atol, **options: Any
        ) -> Any:
            used = part_used(actual, desired, rtol, atol)
            self.note(used, f"rtol {rtol:.2g}, atol {atol:.2g}")
            return compare(actual, desired, rtol=rtol, atol=atol, **options)

        return watched

    def note(self, used: float | None, tolerance: str) -> None:
        """Add a comparison to those of the test that runs, with the test's line that asked."""
        if used is None:
            return
        frame = sys._getframe(1)
        while frame.f_back and (
            TESTS not in (path := Path(frame.f_code.co_filename)).parents
            or path == Path(__file__).resolve()
        ):
            frame = frame.f_back
        file = Path(frame.f_code.co_filename)
        if TESTS in file.parents:
            place = str(file.relative_to(TESTS))
            self.of_test.append((used, place, frame.f_lineno, tolerance))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        """Attach the comparisons to the test's report, which reaches the process that sums up."""
        self.of_test = []
        try:
            return (yield)
        finally:
            item.user_properties.append(("margins", self.of_test))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the comparison that uses most, for each line of a test."""
        if report.when != "call":
            return
        for name, uses in report.user_properties:
            if name != "margins":
                continue
            for used, file, line, tolerance in cast("list[Use]", uses):
                self.count += 1
                best = self.by_place.get((file, line))
                if used <= FAR and (best is None or used > best[0][0]):
                    self.by_place[file, line] = ((used, file, line, tolerance), report.nodeid)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """List what uses more than a quarter and says no reason."""
        above = sorted(best for best in self.by_place.values() if best[0][0] > QUARTER)[::-1]
        silent = [(use, test) for use, test in above if not has_reason(use[1], use[2])]
        terminalreporter.section("margins")
        terminalreporter.line(
            f"{self.count} comparisons; {len(above)} lines use more than a quarter of their"
            f" tolerance, {len(silent)} of them without a reason:"
        )
        for (used, file, line, tolerance), test in silent:
            terminalreporter.line(f"{used:5.2f}  {file}:{line}  {tolerance}  {test}")


def has_reason(file: str, line: int) -> bool:
    """Whether a comment beside the comparison says why its margin is small."""
    lines = linecache.getlines(str(TESTS / file))[max(0, line - 4) : line]
    return any("# margin:" in each for each in lines)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption(
        "--margins", action="store_true", help="list what uses over a quarter of its tolerance"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Watch the comparisons if the option is given."""
    if config.getoption("--margins"):
        config.pluginmanager.register(Margins())

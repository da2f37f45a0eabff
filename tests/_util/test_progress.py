import io
import re
import sys
import time

import pytest

from dolg_zoo._util import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def slowly(count):
    for number in range(count):
        time.sleep(0.02)
        yield number


@pytest.mark.parametrize("total, shown", [(30, "30/30"), (None, "30/?")])
def test_the_bar_tells_count_and_rate(monkeypatch, total, shown):
    monkeypatch.setattr(progress, "PATIENCE_S", 0)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert list(progress.track(slowly(30), total, "Embedding")) == list(range(30))
    text = re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", sys.stderr.getvalue())
    assert "Embedding" in text and shown in text
    rates = [float(rate) for rate in re.findall(r"([0-9.]+)/s", text)]
    assert rates and 0 < rates[-1] <= 50  # one every 20 ms, at the soonest


def test_nothing_is_drawn_where_there_is_no_terminal(monkeypatch):
    monkeypatch.setattr(progress, "PATIENCE_S", 0)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert list(progress.track(slowly(3), None, "Embedding")) == [0, 1, 2]
    assert sys.stderr.getvalue() == ""

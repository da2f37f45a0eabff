"""A progress bar for work that takes long enough to wonder about."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

PATIENCE_S = 2.0


def track(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """Yields the items, with a bar on standard error once two seconds have passed.

    Where standard error is no terminal, nothing is drawn.

    Args:
        items: the work, item by item.
        total: how many items there will be.
        what: what is being done, for the bar.
    """
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task(what, total=total)
    begin, shown = time.monotonic(), False
    try:
        for item in items:
            yield item
            bar.advance(task)
            if not shown and time.monotonic() - begin > PATIENCE_S:
                bar.start()
                shown = True
    finally:
        if shown:
            bar.stop()

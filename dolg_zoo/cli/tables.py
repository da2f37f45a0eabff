"""Tables on standard output."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def print_table(
    rows: Iterable[Sequence[object]], header: Sequence[str] | None = None, *, apart: bool = False
) -> None:
    """Print rows in columns, without markup; a list in a cell has one line per item."""
    # `apart` leaves a blank line between rows
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from dolg_zoo._util.text import printable

    table = Table(
        box=SIMPLE_HEAD if header else None,
        show_header=bool(header),
        pad_edge=False,
        leading=int(apart),
    )
    for title in header or ():
        table.add_column(title, overflow="fold")
    if header:
        table.columns[0].no_wrap = True
    for row in rows:
        lines = (cell if isinstance(cell, list) else [cell] for cell in row)
        table.add_row(
            *(
                Text("\n".join(printable(str(line)) for line in cell), overflow="fold")
                for cell in lines
            )
        )
    Console().print(table)


def print_comparisons(comparisons: Iterable[Mapping[str, Any]]) -> None:
    """Print the figures before and after for each folder of --check."""
    rows = [
        (row["measure"], f"{row['before']:.4f}", f"{row['after']:.4f}", row["folder"])
        for row in comparisons
    ]
    if rows:  # the folder is last, so that only a long folder is wrapped
        print_table(rows, header=("Measure", "before", "after", "checked on"))

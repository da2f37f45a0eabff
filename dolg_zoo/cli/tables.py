"""Tables on standard output."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def print_table(rows: Iterable[Sequence[object]], header: Sequence[str] | None = None) -> None:
    """Prints rows of cells in columns, whatever is in the cells taken literally."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from dolg_zoo.retrieval.text import printable

    table = Table(box=SIMPLE_HEAD if header else None, show_header=bool(header), pad_edge=False)
    for title in header or ():
        table.add_column(title, overflow="fold")
    if header:
        table.columns[0].no_wrap = True
    for row in rows:
        table.add_row(*(Text(printable(str(cell)), overflow="fold") for cell in row))
    Console().print(table)

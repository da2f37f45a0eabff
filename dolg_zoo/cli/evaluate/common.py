"""The common part of the evaluations: ranking options and the output of scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dolg_zoo.cli.outputs import shown
from dolg_zoo.cli.reporting import finish, left_out, print_json
from dolg_zoo.cli.tables import print_table

if TYPE_CHECKING:
    from dolg_zoo.evaluation import Report

Markdown = Annotated[bool, typer.Option("--markdown", help="Print Markdown with the settings.")]


def print_report(report: Report, markdown: bool, as_json: bool, strict: bool = False) -> None:
    """Print figures, the settings they depend on, and the images that could not be read."""
    if as_json:
        print_json(
            {
                "task": report.task,
                "scores": report.scores,
                "settings": report.settings,
                "notes": report.notes,
                **left_out(report.skipped, report.passed_over),
            }
        )
    elif markdown:
        print(report.to_markdown())
    else:
        print(report.task)
        print_table(report.cells, report.header)
        for text in report.notes:
            print(shown(text), end="\n\n")
        print_table(report.facts)
    finish(report.skipped, strict, report.passed_over)

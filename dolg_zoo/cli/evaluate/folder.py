"""`dolg evaluate folder`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dolg_zoo.cli.evaluate.common import Markdown, print_report
from dolg_zoo.cli.model import load_embedder
from dolg_zoo.cli.options import (
    Alpha,
    Expand,
    Json,
    Precision,
    Preset,
    Rerank,
    Runtime,
    Scales,
    Strict,
)


def folder(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Photographs, a subfolder for each class.")
    ],
    preset: Preset = None,
    scales: Scales = None,
    runtime: Runtime = None,
    precision: Precision = "float32",
    expand: Expand = 0,
    alpha: Alpha = 3.0,
    rerank: Rerank = 0,
    markdown: Markdown = False,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Your own photographs: each is searched for among the others.

    \b
    Example:
      dolg evaluate folder photos/
    """
    from dolg_zoo.evaluation import ClassFolder
    from dolg_zoo.retrieval.search.ranking import Ranking

    ranking = Ranking(expand=expand, alpha=alpha, rerank=rerank)
    task = ClassFolder.find(folder)
    model = load_embedder(preset, runtime, precision, lambda: [*task.paths.values()])
    report = task.evaluate(model, scales=scales, ranking=ranking)
    print_report(report, markdown, as_json, strict)

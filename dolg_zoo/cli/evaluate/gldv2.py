"""`dolg evaluate gldv2-retrieval` and `dolg evaluate gldv2-recognition`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dolg_zoo.cli.evaluate.common import Markdown, print_report
from dolg_zoo.cli.model import load_embedder
from dolg_zoo.cli.options import (
    Alpha,
    Dba,
    Expand,
    Json,
    Precision,
    Preset,
    Rerank,
    Runtime,
    Scales,
    Strict,
)

if TYPE_CHECKING:
    from dolg_zoo.embedders.base import ImageEmbedder

Solution = Annotated[
    Path, typer.Option(metavar="FILE.csv", help="The solution file of the challenge.")
]
Predictions = Annotated[
    Path | None, typer.Option(metavar="FILE.csv", help="Score only this submission.")
]
Queries = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="The test images, or their descriptors: a folder that `dolg embed` wrote.",
    ),
]


def gldv2_retrieval(
    solution: Solution,
    index: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The index images, or their descriptors: a folder that `dolg embed` wrote.",
        ),
    ] = None,
    queries: Queries = None,
    predictions: Predictions = None,
    preset: Preset = None,
    scales: Scales = None,
    runtime: Runtime = None,
    precision: Precision = "float32",
    expand: Expand = 0,
    alpha: Alpha = 3.0,
    dba: Dba = 0,
    rerank: Rerank = 0,
    markdown: Markdown = False,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Google Landmarks v2, retrieval: mAP@100.

    Without a GPU, embedding the 762,000 index images takes days. `dolg embed` can do it on another
    machine.

    \b
    Examples:
      dolg evaluate gldv2-retrieval --solution retrieval_solution_v2.1.csv \\
          --index index/ --queries test/ --preset dolg_resnet50_gldv2
      dolg evaluate gldv2-retrieval --solution retrieval_solution_v2.1.csv \\
          --predictions submission.csv
    """
    from dolg_zoo.evaluation import Retrieval, score_retrieval
    from dolg_zoo.retrieval.search.ranking import Ranking

    ranking = Ranking(expand=expand, alpha=alpha, rerank=rerank, dba=dba)
    if _either(predictions, {"--index": index, "--queries": queries}):
        assert predictions is not None
        print_report(score_retrieval(solution, predictions), markdown, as_json)
        return
    assert index is not None and queries is not None
    task = Retrieval.find(solution, index, queries)
    model = _model(task.needs_model, preset, runtime, precision)
    report = task.evaluate(model, scales=scales, ranking=ranking)
    print_report(report, markdown, as_json, strict)


def gldv2_recognition(
    solution: Solution,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv",
            help="The landmarks of the training images: train.csv or train_clean.csv.",
        ),
    ] = None,
    train: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The training images, or their descriptors: a folder that `dolg embed` wrote.",
        ),
    ] = None,
    queries: Queries = None,
    predictions: Predictions = None,
    neighbours: Annotated[
        int, typer.Option(metavar="N", min=1, help="Number of nearest training images that vote.")
    ] = 5,
    preset: Preset = None,
    scales: Scales = None,
    runtime: Runtime = None,
    precision: Precision = "float32",
    expand: Expand = 0,
    alpha: Alpha = 3.0,
    dba: Dba = 0,
    rerank: Rerank = 0,
    markdown: Markdown = False,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Google Landmarks v2, recognition: μAP.

    \b
    Examples:
      dolg evaluate gldv2-recognition --solution recognition_solution_v2.1.csv \\
          --labels train_clean.csv --train train/ --queries test/
      dolg evaluate gldv2-recognition --solution recognition_solution_v2.1.csv \\
          --predictions submission.csv
    """
    from dolg_zoo.evaluation import Recognition, score_recognition
    from dolg_zoo.retrieval.search.ranking import Ranking

    ranking = Ranking(expand=expand, alpha=alpha, rerank=rerank, dba=dba)
    given = {"--labels": labels, "--train": train, "--queries": queries}
    if _either(predictions, given):
        assert predictions is not None
        print_report(score_recognition(solution, predictions), markdown, as_json)
        return
    assert labels is not None and train is not None and queries is not None
    task = Recognition.find(solution, labels, train, queries)
    model = _model(task.needs_model, preset, runtime, precision)
    report = task.evaluate(model, neighbours=neighbours, scales=scales, ranking=ranking)
    print_report(report, markdown, as_json, strict)


def _either(predictions: Path | None, others: dict[str, Path | None]) -> bool:
    """Return whether predictions are given; if not, require the other options."""
    given = [value is not None for value in others.values()]
    if any(given) if predictions else not all(given):
        raise typer.BadParameter(f"Give either --predictions, or {' and '.join(others)}.")
    return predictions is not None


def _model(
    is_needed: bool, preset: str | None, runtime: str | None, precision: str
) -> ImageEmbedder | None:
    # descriptors are checked against a preset that is named, even if nothing is to be embedded
    if not is_needed and preset is None:
        return None
    return load_embedder(preset, runtime, precision)

"""`dolg evaluate`: one command per benchmark."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dolg_zoo.cli.options import (
    Alpha,
    Embedding,
    Expand,
    Json,
    Printing,
    RankingOptions,
    Rerank,
)
from dolg_zoo.cli.reporting import reporting_errors, shown
from dolg_zoo.cli.tables import print_table

if TYPE_CHECKING:
    from dolg_zoo.embedders.base import ImageEmbedder
    from dolg_zoo.evaluation import Recognition, Report, Retrieval

Markdown = Annotated[bool, typer.Option("--markdown", help="Print Markdown with the settings.")]
BenchmarkImages = Annotated[
    Path, typer.Option(metavar="DIR", help="The folder of the images, with subfolders.")
]
GroundTruth = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.pkl", help="The ground truth of the benchmark. (default: in DIR or beside it)"
    ),
]
Distractors = Annotated[
    Path | None,
    typer.Option(
        metavar="STORE",
        help="Descriptors of distractor images, by the same preset: a folder from `dolg embed`.",
    ),
]
NoCrop = Annotated[
    bool,
    typer.Option(
        "--no-crop", help="Use whole images as queries. The protocol crops them to the landmark."
    ),
]
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


app = typer.Typer(
    help="Measure a preset on public benchmarks or on your own photographs.",
    epilog="""\b
Examples:
  dolg evaluate folder photos/
  dolg evaluate roxford5k --images roxford5k/ --preset dolg_resnet50_gldv2
  dolg evaluate rparis6k --images rparis6k/ --distractors revisitop1m/ --markdown

Descriptors are cached, so an interrupted evaluation continues.
""",
    rich_markup_mode=None,
    no_args_is_help=True,
)


def revisited(benchmark: str, title: str) -> Callable[..., None]:
    """Return the command for Revisited Oxford or Paris."""

    def command(
        images: BenchmarkImages,
        *,
        embedding: Embedding,
        ground_truth: GroundTruth = None,
        distractors: Distractors = None,
        no_crop: NoCrop = False,
        ranking: RankingOptions,
        markdown: Markdown = False,
        as_json: Json = False,
    ) -> None:
        from dolg_zoo.evaluation import Revisited
        from dolg_zoo.preprocessing import list_images

        ranking.checked()  # to fail before the model is loaded
        task = Revisited.find(benchmark, images, ground_truth)
        report = task.evaluate(
            embedding.load(partial(list_images, images)),
            crop=not no_crop,
            scales=embedding.scales,
            distractors=distractors,
            ranking=ranking.checked(),
        )
        print_report(report, markdown, Printing(as_json=as_json))

    command.__doc__ = f"""{title}: mAP and mP@k of easy, medium and hard.

    \b
    Example:
      dolg evaluate {benchmark} --images {benchmark}/ --preset dolg_resnet50_gldv2
    """
    return command


def gldv2_retrieval(
    solution: Solution,
    *,
    index: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The index images, or their descriptors: a folder that `dolg embed` wrote.",
        ),
    ] = None,
    queries: Queries = None,
    predictions: Predictions = None,
    embedding: Embedding,
    ranking: RankingOptions,
    markdown: Markdown = False,
    printing: Printing,
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

    ranking.checked()  # to fail before the model is loaded
    _check_either(predictions, {"--index": index, "--queries": queries})
    if predictions is not None:
        report = score_retrieval(solution, predictions)
    else:
        assert index is not None and queries is not None
        task = Retrieval.find(solution, index, queries)
        model = _model(task, embedding)
        report = task.evaluate(model, scales=embedding.scales, ranking=ranking.checked())
    print_report(report, markdown, printing)


def gldv2_recognition(
    solution: Solution,
    *,
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
    embedding: Embedding,
    ranking: RankingOptions,
    markdown: Markdown = False,
    printing: Printing,
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

    ranking.checked()  # to fail before the model is loaded
    _check_either(predictions, {"--labels": labels, "--train": train, "--queries": queries})
    if predictions is not None:
        report = score_recognition(solution, predictions)
    else:
        assert labels is not None and train is not None and queries is not None
        task = Recognition.find(solution, labels, train, queries)
        report = task.evaluate(
            _model(task, embedding),
            neighbours=neighbours,
            scales=embedding.scales,
            ranking=ranking.checked(),
        )
    print_report(report, markdown, printing)


def _check_either(predictions: Path | None, others: dict[str, Path | None]) -> None:
    """Require either the predictions or all the other options."""
    given = [value is not None for value in others.values()]
    if any(given) if predictions else not all(given):
        raise typer.BadParameter(f"Give either --predictions, or {' and '.join(others)}.")


def _model(task: Retrieval | Recognition, embedding: Embedding) -> ImageEmbedder | None:
    # a named preset is loaded even if no image is embedded, to check the descriptors against it
    return embedding.load() if task.needs_model or embedding.preset is not None else None


def folder(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Photographs, a subfolder for each class.")
    ],
    *,
    embedding: Embedding,
    expand: Expand = 0,
    alpha: Alpha = 3.0,
    rerank: Rerank = 0,
    markdown: Markdown = False,
    printing: Printing,
) -> None:
    """Your own photographs: each is a query, the others are the gallery.

    \b
    Example:
      dolg evaluate folder photos/
    """
    from dolg_zoo.evaluation import ClassFolder

    ranking = RankingOptions(expand, alpha, rerank=rerank).checked()
    task = ClassFolder.find(folder)
    model = embedding.load(lambda: [*task.paths.values()])
    report = task.evaluate(model, scales=embedding.scales, ranking=ranking)
    print_report(report, markdown, printing)


def print_report(report: Report, markdown: bool, printing: Printing) -> None:
    """Print figures, the settings they depend on, and the images that could not be read."""
    printing.show(
        report.to_markdown() if markdown else report.task,
        report.skipped,
        report.passed_over,
        task=report.task,
        scores=report.scores,
        settings=report.settings,
        notes=report.notes,
    )
    if not (markdown or printing.as_json):
        print_table(report.cells, report.header)
        for text in report.notes:
            print(shown(text), end="\n\n")
        print_table(report.facts)
    printing.finish(report.skipped, report.passed_over)


for name, command in (
    ("roxford5k", revisited("roxford5k", "Revisited Oxford")),
    ("rparis6k", revisited("rparis6k", "Revisited Paris")),
    ("gldv2-retrieval", gldv2_retrieval),
    ("gldv2-recognition", gldv2_recognition),
    ("folder", folder),
):
    app.command(name)(reporting_errors(command))

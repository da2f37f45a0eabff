"""`dolg evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dolg_zoo.cli.model import load_model
from dolg_zoo.cli.options import Json, Preset, Scales
from dolg_zoo.cli.outputs import shown
from dolg_zoo.cli.reporting import as_list, finish, print_json, reporting_errors
from dolg_zoo.cli.tables import print_table

if TYPE_CHECKING:
    from dolg_zoo.dolg import DOLG
    from dolg_zoo.evaluation import Options, Report

app = typer.Typer(
    help="Measure a preset on the field's benchmarks, or on your own photographs.",
    epilog="""\b
Examples:
  dolg evaluate folder photos/
  dolg evaluate roxford5k --images roxford5k/ --preset dolg_resnet50_gldv2
  dolg evaluate rparis6k --images rparis6k/ --distractors revisitop1m/ --markdown

Descriptors are kept: an evaluation that was interrupted goes on where it was.
""",
    rich_markup_mode=None,
    no_args_is_help=True,
)

Images = Annotated[
    Path,
    typer.Option(metavar="DIR", help="Where the images are; in folders below, too."),
]
GroundTruth = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.pkl",
        help="The benchmark's ground truth; if not given, in DIR or beside it.",
        show_default=False,
    ),
]
Distractors = Annotated[
    Path | None,
    typer.Option(
        metavar="STORE",
        help="Descriptors to search besides, of the same preset: a folder that `dolg embed` wrote.",
        show_default=False,
    ),
]
NoCrop = Annotated[
    bool,
    typer.Option(
        "--no-crop", help="Take whole images as queries. The protocol crops them to the landmark."
    ),
]
Solution = Annotated[Path, typer.Option(metavar="FILE.csv", help="What queries should find.")]
Predictions = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.csv",
        help="Score this submission, and nothing else.",
        show_default=False,
    ),
]
Queries = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="The test images, or their descriptors: a folder that `dolg embed` wrote.",
        show_default=False,
    ),
]
Expand = Annotated[
    int, typer.Option(metavar="N", min=0, help="Expand queries by their N nearest; 0 for not.")
]
Alpha = Annotated[
    float, typer.Option(min=0, help="Of --expand and --dba: the higher, the less the unlike count.")
]
Dba = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=0,
        help="Augment the images searched by their N nearest; 0 for not. Compares all with all.",
    ),
]
Rerank = Annotated[
    int, typer.Option(metavar="N", min=0, help="Re-rank the first N results; 0 for not.")
]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print Markdown with the settings.")]


def _revisited(benchmark: str, title: str):
    def command(
        images: Images,
        preset: Preset = None,
        scales: Scales = None,
        ground_truth: GroundTruth = None,
        distractors: Distractors = None,
        no_crop: NoCrop = False,
        expand: Expand = 0,
        alpha: Alpha = 3.0,
        dba: Dba = 0,
        rerank: Rerank = 0,
        markdown: Markdown = False,
        as_json: Json = False,
    ) -> None:
        from dolg_zoo.evaluation import Revisited

        options = _options(expand, alpha, rerank, dba)
        task = Revisited.find(benchmark, images, ground_truth)
        report = task.evaluate(
            load_model(preset),
            crop=not no_crop,
            scales=scales,
            distractors=distractors,
            options=options,
        )
        _print(report, markdown, as_json)

    command.__doc__ = f"""{title}: mAP and mP@k of easy, medium and hard.

    \b
    Example:
      dolg evaluate {benchmark} --images {benchmark}/ --preset dolg_resnet50_gldv2
    """
    return command


def gldv2_retrieval(
    solution: Solution,
    index: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The index images, or their descriptors: a folder that `dolg embed` wrote.",
            show_default=False,
        ),
    ] = None,
    queries: Queries = None,
    predictions: Predictions = None,
    preset: Preset = None,
    scales: Scales = None,
    expand: Expand = 0,
    alpha: Alpha = 3.0,
    dba: Dba = 0,
    rerank: Rerank = 0,
    markdown: Markdown = False,
    as_json: Json = False,
) -> None:
    """Google Landmarks v2, retrieval: mAP@100.

    Embedding the 762,000 index images takes days without a GPU: `dolg embed` can do it elsewhere.

    \b
    Examples:
      dolg evaluate gldv2-retrieval --solution retrieval_solution_v2.1.csv \\
          --index index/ --queries test/ --preset dolg_resnet50_gldv2
      dolg evaluate gldv2-retrieval --solution retrieval_solution_v2.1.csv \\
          --predictions submission.csv
    """
    from dolg_zoo.evaluation import Retrieval, score_retrieval

    options = _options(expand, alpha, rerank, dba)
    if _either(predictions, {"--index": index, "--queries": queries}):
        _print(score_retrieval(solution, predictions), markdown, as_json)
        return
    task = Retrieval.find(solution, index, queries)
    model = _model(task.needs_model, preset)
    _print(task.evaluate(model, scales=scales, options=options), markdown, as_json)


def gldv2_recognition(
    solution: Solution,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv",
            help="The training images' landmarks: train.csv or train_clean.csv.",
            show_default=False,
        ),
    ] = None,
    train: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The training images, or their descriptors: a folder that `dolg embed` wrote.",
            show_default=False,
        ),
    ] = None,
    queries: Queries = None,
    predictions: Predictions = None,
    neighbours: Annotated[
        int, typer.Option(min=1, help="Nearest training images that vote by their similarity.")
    ] = 5,
    preset: Preset = None,
    scales: Scales = None,
    expand: Expand = 0,
    alpha: Alpha = 3.0,
    dba: Dba = 0,
    rerank: Rerank = 0,
    markdown: Markdown = False,
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

    options = _options(expand, alpha, rerank, dba)
    given = {"--labels": labels, "--train": train, "--queries": queries}
    if _either(predictions, given):
        _print(score_recognition(solution, predictions), markdown, as_json)
        return
    task = Recognition.find(solution, labels, train, queries)
    model = _model(task.needs_model, preset)
    report = task.evaluate(model, neighbours=neighbours, scales=scales, options=options)
    _print(report, markdown, as_json)


def folder(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Photographs, a subfolder for each class.")
    ],
    preset: Preset = None,
    scales: Scales = None,
    expand: Expand = 0,
    alpha: Alpha = 3.0,
    rerank: Rerank = 0,
    markdown: Markdown = False,
    as_json: Json = False,
) -> None:
    """Your own photographs: each finds the others.

    \b
    Example:
      dolg evaluate folder photos/
    """
    from dolg_zoo.evaluation import ClassFolder

    options = _options(expand, alpha, rerank)
    task = ClassFolder.find(folder)
    report = task.evaluate(load_model(preset), scales=scales, options=options)
    _print(report, markdown, as_json)


for name, command in (
    ("roxford5k", _revisited("roxford5k", "Revisited Oxford")),
    ("rparis6k", _revisited("rparis6k", "Revisited Paris")),
    ("gldv2-retrieval", gldv2_retrieval),
    ("gldv2-recognition", gldv2_recognition),
    ("folder", folder),
):
    app.command(name)(reporting_errors(command))


def _options(expand: int, alpha: float, rerank: int, dba: int = 0) -> Options:
    from dolg_zoo.evaluation import Options
    from dolg_zoo.retrieval.ranking import Ranking

    return Options(Ranking(expand=expand, alpha=alpha, rerank=rerank), dba)


def _either(predictions: Path | None, others: dict[str, Path | None]) -> bool:
    """Whether predictions are given; if not, all the others are."""
    given = [value is not None for value in others.values()]
    if any(given) if predictions else not all(given):
        raise typer.BadParameter(f"Give either --predictions, or {' and '.join(others)}.")
    return predictions is not None


def _model(is_needed: bool, preset: str | None) -> DOLG | None:
    # descriptors are checked against a preset that is named, even if nothing is to be embedded
    return load_model(preset) if is_needed or preset is not None else None


def _print(report: Report, markdown: bool, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "task": report.task,
                "scores": report.scores,
                "settings": report.settings,
                "notes": report.notes,
                "skipped": as_list(report.skipped),
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
    finish(report.skipped, strict=False)

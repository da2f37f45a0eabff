"""`dolg evaluate roxford5k` and `dolg evaluate rparis6k`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

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
)

Images = Annotated[
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


def revisited(benchmark: str, title: str) -> Callable[..., None]:
    """Return the command for one of the two."""

    def command(
        images: Images,
        preset: Preset = None,
        scales: Scales = None,
        runtime: Runtime = None,
        precision: Precision = "float32",
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
        from dolg_zoo.preprocessing import list_images
        from dolg_zoo.retrieval.search.ranking import Ranking

        ranking = Ranking(expand=expand, alpha=alpha, rerank=rerank, dba=dba)
        task = Revisited.find(benchmark, images, ground_truth)
        report = task.evaluate(
            load_embedder(preset, runtime, precision, partial(list_images, images)),
            crop=not no_crop,
            scales=scales,
            distractors=distractors,
            ranking=ranking,
        )
        print_report(report, markdown, as_json)

    command.__doc__ = f"""{title}: mAP and mP@k of easy, medium and hard.

    \b
    Example:
      dolg evaluate {benchmark} --images {benchmark}/ --preset dolg_resnet50_gldv2
    """
    return command

"""`dolg demo`."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Annotated

import typer

from dolg_zoo.cli.model import load_embedder
from dolg_zoo.cli.options import Montage, Preset, Printing
from dolg_zoo.cli.reporting import check_picture, shown


def demo(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR",
            help="Your own photographs. With a subfolder for each place or product the accuracy is"
            " measured. (default: six photographs that come with dolg-zoo)",
        ),
    ] = None,
    *,
    montage: Montage = None,
    preset: Preset = None,
    printing: Printing,
) -> None:
    """Search real photographs and print how many were found.

    \b
    Example:
      dolg demo --montage found.png
    """
    passed_over = None
    if folder:
        from dolg_zoo.preprocessing import list_images

        passed_over = list_images(folder).passed_over  # fails before the model is loaded
    check_picture(montage)
    model = load_embedder(preset)
    from dolg_zoo.demo import run_demo

    result = run_demo(model, folder)
    from dolg_zoo._util.text import percent

    right = round(result.recall_at_1 * result.queries)
    lines = [
        textwrap.fill(shown(result.protocol), 88),
        f"recall@1  {percent(result.recall_at_1)}  ({right} of {result.queries} queries)",
        f"mAP       {percent(result.map)}  (gallery of {result.gallery} images)",
    ]
    if montage:
        lines.append(f"picture   {shown(montage)}")
    printing.show(
        "\n".join(lines),
        result.skipped,
        passed_over,
        protocol=result.protocol,
        preset=model.metadata["preset"],
        recall_at_1=result.recall_at_1,
        map=result.map,
        queries=result.queries,
        gallery=result.gallery,
        montage=montage and str(montage),
    )
    if montage:
        result.draw(montage)
    printing.finish(result.skipped, passed_over)

"""`dolg map`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dolg_zoo.cli.options import Drawing, Images, Json, Precision, Preset, Runtime, Scales, Strict
from dolg_zoo.cli.outputs import leave_stdout_to, shown
from dolg_zoo.cli.reporting import finish, left_out, note, print_json
from dolg_zoo.cli.where import check_where, contents_of, open_where


def draw_map(
    where: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder of images, or an index of one.")
    ],
    output: Drawing = Path("map.png"),
    images: Images = None,
    preset: Preset = None,
    scales: Scales = None,
    runtime: Runtime = None,
    precision: Precision = "float32",
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Draw a map of a folder: similar images are near each other.

    If every image is in a subfolder, each subfolder has its own colour and marker. Thumbnails are
    drawn where there is room; other images are markers.

    \b
    Example:
      dolg map photos/ -o map.svg
    """
    from dolg_zoo.drawing.style import check_picture

    check_picture(output)
    leave_stdout_to(output)
    check_where(where, scales, images)
    index = open_where(where, preset, scales, images, runtime, precision)
    from dolg_zoo.drawing.map import draw_map, positions
    from dolg_zoo.drawing.style import save_figure

    note(contents_of(index, where))
    layout = positions(index.descriptors)
    if as_json:
        found = dict(zip(index.names, layout.round(4).tolist(), strict=True))
        print_json(
            {"picture": str(output), "places": found, **left_out(index.skipped, index.passed_over)}
        )
    save_figure(draw_map(index, layout=layout), output)
    if not as_json:
        print(f"written to {shown(output)}")
    finish(index.skipped, strict, index.passed_over)

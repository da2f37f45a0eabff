"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        "-p",
        metavar="PRESET",
        help="A name that `dolg presets` lists, hf://user/repo, or a preset folder; if not given,"
        " the preset that ships with dolg-zoo.",
        show_default=False,
    ),
]


def _scales(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        scales = tuple(float(part) for part in text.split(","))
    except ValueError:
        scales = ()
    if not scales or not all(0 < scale <= 8 for scale in scales):
        raise typer.BadParameter(
            f"{text!r} must be numbers above 0 and up to 8, joined by commas: 0.7071,1,1.4142"
        )
    return scales


Scales = Annotated[
    str | None,
    typer.Option(
        metavar="S,S,…",
        callback=_scales,
        help="The descriptor is the mean of those at these multiples of the image's size; if not"
        " given, at the preset's own.",
        show_default=False,
    ),
]
Runtime = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="What computes: openvino, onnx, litert or keras; if not given, the first that can"
        " be used here: see `dolg info --runtimes`.",
        show_default=False,
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        metavar="TYPE",
        help="float32; or bfloat16 or int8, which are faster and change descriptors.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Strict = Annotated[
    bool, typer.Option("--strict", help="Exit with status 3 if an image could not be read.")
]
Montage = Annotated[
    Path | None,
    typer.Option(
        "--montage",
        metavar="OUT.png",
        help="Write a picture of what was found: .png, .svg, .jpg or .webp.",
    ),
]
Drawing = Annotated[
    Path,
    typer.Option(
        "--output", "-o", metavar="OUT.png", help="What to write: .png, .svg, .jpg or .webp."
    ),
]


def _box(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        box = tuple(float(part) for part in text.split(","))
    except ValueError:
        box = ()
    if len(box) != 4 or not (box[0] < box[2] and box[1] < box[3]):
        raise typer.BadParameter(
            f"{text!r} must be x1,y1,x2,y2 in pixels, x1 less than x2 and y1 less than y2"
        )
    return box


Box = Annotated[
    str | None,
    typer.Option(
        metavar="X1,Y1,X2,Y2",
        callback=_box,
        help="Search for this part of the query alone, in its pixels.",
        show_default=False,
    ),
]
Images = Annotated[
    Path | None,
    typer.Option(
        "--images",
        metavar="DIR",
        help="Where the images of an index are; if not given, where they were when it was made.",
        show_default=False,
    ),
]
Expand = Annotated[
    int, typer.Option(metavar="N", min=0, help="Expand queries by their N nearest; 0 for not.")
]
Alpha = Annotated[
    float,
    typer.Option(
        metavar="A", min=0, help="Of --expand: the higher, the less the unlike ones count."
    ),
]
Dba = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=0,
        help="Augment each image searched by its N nearest, with --alpha; 0 for not. Compares all"
        " with all.",
    ),
]
Rerank = Annotated[
    int, typer.Option(metavar="N", min=0, help="Re-rank the first N results; 0 for not.")
]

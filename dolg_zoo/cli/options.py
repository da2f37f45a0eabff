"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

OUTPUT = ("--output", "--out", "-o")
"""The spellings of the option that names what is written."""

MAX_LOSS = 0.01
"""How much mAP may be lost on the images of --check, unless another bound is given."""

Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        "-p",
        metavar="PRESET",
        help="A name from `dolg presets`, hf://user/repo, or a preset folder. (default: the preset"
        " in the package)",
    ),
]


class Factors(tuple[float, ...]):
    """The value of --scales."""


class Corners(tuple[float, float, float, float]):
    """The value of --box: x1, y1, x2, y2."""


def _scales(text: str) -> Factors:
    from dolg_zoo.preprocessing.scales import MAX_SCALE, checked_scales

    try:
        return Factors(checked_scales([float(part) for part in text.split(",")]))
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} must be numbers above 0 and up to {MAX_SCALE:g}, joined by commas:"
            " 0.7071,1,1.4142"
        ) from None


Scales = Annotated[
    Factors | None,
    typer.Option(
        metavar="S,S,…",
        parser=_scales,
        help="Embed each image at these multiples of its size and take the mean. (default: those"
        " of the preset)",
    ),
]
Runtime = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="openvino, onnx, litert or keras. (default: the one that `dolg info --runtimes`"
        " shows)",
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        metavar="TYPE", help="float32; bfloat16 and int8 are faster and change descriptors."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Strict = Annotated[
    bool, typer.Option("--strict", help="Exit with status 3 if an image could not be read.")
]
RemoveMissing = Annotated[
    bool,
    typer.Option(
        "--remove-missing",
        help="Remove images even if a link or a folder of theirs cannot be read, or they are more"
        " than half of all.",
    ),
]
Montage = Annotated[
    Path | None,
    typer.Option(
        "--montage",
        metavar="OUT.png",
        help="Write a picture of the results: .png, .svg, .jpg or .webp.",
    ),
]
Check = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="DIR",
        help="Compare with the preset on these images: mAP if each class has a subfolder.",
    ),
]

Drawing = Annotated[
    Path,
    typer.Option(
        *OUTPUT, metavar="OUT.png", help="The picture to write: .png, .svg, .jpg or .webp."
    ),
]


def _box(text: str) -> Corners:
    try:
        box = [float(part) for part in text.split(",")]
    except ValueError:
        box = []
    if len(box) != 4 or not (box[0] < box[2] and box[1] < box[3]):
        raise typer.BadParameter(
            f"{text!r} must be x1,y1,x2,y2 in pixels, x1 less than x2 and y1 less than y2"
        )
    return Corners(box)


Box = Annotated[
    Corners | None,
    typer.Option(
        metavar="X1,Y1,X2,Y2",
        parser=_box,
        help="This part of the query only, in pixels of the query.",
    ),
]
Images = Annotated[
    Path | None,
    typer.Option(
        "--images",
        metavar="DIR",
        help="The folder of the images of an index. (default: the one it was made from)",
    ),
]
Expand = Annotated[
    int,
    typer.Option(metavar="N", min=0, help="Query expansion with the N nearest images; 0: none."),
]
Alpha = Annotated[
    float,
    typer.Option(metavar="A", min=0, help="Exponent of the similarity in --expand and --dba."),
]
Dba = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=0,
        help="Database-side augmentation with the N nearest images; 0: none. Compares every image"
        " with every other.",
    ),
]
Rerank = Annotated[
    int,
    typer.Option(
        metavar="N", min=0, help="k-reciprocal re-ranking of the first N results; 0: none."
    ),
]

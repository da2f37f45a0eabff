"""Options that several commands have, and groups of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dolg_zoo.cli import reporting
from dolg_zoo.cli.model import load_embedder

if TYPE_CHECKING:
    from dolg_zoo.embedders.base import ImageEmbedder
    from dolg_zoo.preprocessing import ImageSource, PassedOver
    from dolg_zoo.retrieval import Ranking

OUTPUT = ("--output", "--out", "-o")
"""The names of the option for the output."""

MAX_LOSS = 0.01
"""Default maximum loss of mAP on the images of --check."""

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


Runtime = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="A runtime of `dolg info --runtimes`, such as openvino or keras. (default: the one"
        " marked there)",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RemoveMissing = Annotated[
    bool,
    typer.Option(
        "--remove-missing",
        help="Remove missing images even if a link or folder cannot be read, or more than half of"
        " all images are missing.",
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
Where = Annotated[
    Path,
    typer.Argument(metavar="WHERE", help="A folder of images with its subfolders, or an index."),
]
FolderOrIndex = Annotated[
    Path, typer.Argument(metavar="DIR", help="A folder of images, or an index of one.")
]
PresetArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="PRESET",
        help="A name, hf://user/repo or a folder. (default: the preset in the package)",
    ),
]
NewPreset = Annotated[
    Path, typer.Option(*OUTPUT, metavar="DIR", help="The preset folder to write.")
]
Expand = Annotated[
    int,
    typer.Option(metavar="N", min=0, help="Query expansion with the N nearest images; 0: none."),
]
Alpha = Annotated[
    float,
    typer.Option(metavar="A", min=0, help="Exponent of the similarity in --expand and --dba."),
]
Rerank = Annotated[
    int,
    typer.Option(
        metavar="N", min=0, help="k-reciprocal re-ranking of the first N results; 0: none."
    ),
]


@dataclass(frozen=True)
class Embedding:
    """How images become descriptors."""

    preset: Preset = None
    scales: Annotated[
        Factors | None,
        typer.Option(
            metavar="S,S,…",
            parser=_scales,
            help="Embed each image at these multiples of its size and take the mean. (default:"
            " those of the preset)",
        ),
    ] = None
    runtime: Runtime = None
    precision: Annotated[
        str,
        typer.Option(
            metavar="TYPE", help="float32; bfloat16 and int8 are faster and change descriptors."
        ),
    ] = "float32"

    def load(self, sample: Callable[[], Sequence[ImageSource]] | None = None) -> ImageEmbedder:
        """Return the model; `sample` gives images to calibrate int8 with."""
        return load_embedder(self.preset, self.runtime, self.precision, sample)


@dataclass(frozen=True)
class RankingOptions:
    """How results are ranked."""

    expand: Expand = 0
    alpha: Alpha = 3.0
    dba: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Database-side augmentation with the N nearest images; 0: none. Compares every"
            " image with every other.",
        ),
    ] = 0
    rerank: Rerank = 0

    def checked(self) -> Ranking:
        """Return the ranking, or raise ValueError."""
        from dolg_zoo.retrieval.search.ranking import Ranking

        return Ranking(**vars(self))


@dataclass(frozen=True)
class Printing:
    """How to print a result, and whether unreadable images change the exit status."""

    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with status 3 if an image could not be read.")
    ] = False
    as_json: Json = False

    def show(
        self,
        text: str,
        skipped: Mapping[str, str],
        passed_over: PassedOver | None,
        /,
        **document: object,
    ) -> None:
        """Print a text, or with --json a document with unreadable images and ignored files."""
        if self.as_json:
            reporting.print_json({**document, **reporting.left_out(skipped, passed_over)})
        elif text:
            print(text)

    def finish(self, skipped: Mapping[str, str], passed_over: PassedOver | None) -> None:
        """Report unreadable images and ignored files; with --strict exit with status 3."""
        reporting.finish(skipped, self.strict, passed_over)

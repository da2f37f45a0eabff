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
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Strict = Annotated[
    bool, typer.Option("--strict", help="Exit with status 3 if an image could not be read.")
]
Montage = Annotated[
    Path | None,
    typer.Option(
        "--montage",
        metavar="OUT.png",
        help="Write a picture of what was found: .png, .jpg, .jpeg or .webp.",
    ),
]

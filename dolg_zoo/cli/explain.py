"""`dolg explain`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dolg_zoo.cli.model import load_explainer
from dolg_zoo.cli.options import Box, Drawing, Json, Preset
from dolg_zoo.cli.reporting import check_picture, print_json, shown

if TYPE_CHECKING:
    from dolg_zoo.preprocessing import ImageSource


def explain(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A photograph, the query.")],
    other: Annotated[
        Path | None, typer.Argument(metavar="IMAGE2", help="Another photograph to compare it with.")
    ] = None,
    box: Box = None,
    output: Drawing = Path("explanation.png"),
    scale: Annotated[
        float, typer.Option(min=0.1, max=8, help="Multiple of the image size of the preset.")
    ] = 1.0,
    preset: Preset = None,
    as_json: Json = False,
) -> None:
    """Show the attention of a photograph, and why two photographs match.

    The cosine similarity of two photographs is the sum of the contributions of each position in
    one of them and of its global branch. This is exact, not an estimate.

    \b
    Examples:
      dolg explain query.jpg
      dolg explain query.jpg photos/rocket.jpg -o why.svg
      dolg explain query.jpg photos/rocket.jpg --box 40,40,300,240
    """
    from dolg_zoo.preprocessing import Crop, load_image

    query: ImageSource = Crop(image, box) if box else image
    check_picture(output, [image, other])  # fails before the model is loaded
    load_image(query)
    if other:
        load_image(other)
    explanation = load_explainer(preset).explain(query, other, scale=scale)
    if as_json:
        print_json(
            {
                "preset": explanation.model,
                "score": explanation.score,
                "picture": str(output),
                "sides": [side.to_dict() for side in explanation.sides],
            }
        )
    elif explanation.score is not None:
        print(f"cosine {explanation.score:.4f}")
        for side in explanation.sides:
            assert side.places is not None  # set, since there are two photographs
            local = side.places.sum()
            print(f"  {shown(side.name)}: local {local:+.4f}, global {side.global_part:+.4f}")
    explanation.save(output)
    if not as_json:
        print(f"written to {shown(output)}")

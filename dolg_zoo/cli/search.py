"""`dolg search`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dolg_zoo.cli.model import load_model
from dolg_zoo.cli.options import Json, Montage, Preset, Scales, Strict
from dolg_zoo.cli.outputs import check_picture, shown
from dolg_zoo.cli.reporting import as_list, finish, note, print_json


def search(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where to search, subfolders included.")
    ],
    query: Annotated[
        Path, typer.Option("--query", "-q", metavar="IMAGE", help="What to search for.")
    ],
    k: Annotated[int, typer.Option("-k", min=1, help="How many results.")] = 10,
    montage: Montage = None,
    preset: Preset = None,
    scales: Scales = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Find the images of a folder that show what a query image shows.

    Descriptors are kept for the next search: only what is new or changed is embedded again.

    \b
    Example:
      dolg search photos/ --query query.jpg -k 5 --montage found.png
    """
    from dolg_zoo.preprocessing import list_images, load_image
    from dolg_zoo.retrieval import Index
    from dolg_zoo.retrieval import montage as draw_montage

    # to fail before the model is loaded
    list_images(folder)
    load_image(query)
    if montage:
        check_picture(montage)

    model = load_model(preset)
    index = Index.build(model, folder, scales=scales, cache=True)
    matches = index.search(query, k)
    if montage:
        draw_montage(query, matches, montage)
    if as_json:
        print_json(
            {
                "query": str(query),
                "folder": str(folder),
                "preset": model.metadata["preset"],
                "images": len(index),
                "from_cache": index.reused,
                "matches": [
                    {
                        "rank": rank,
                        "name": match.name,
                        "path": str(match.path),
                        "score": round(match.score, 6),
                    }
                    for rank, match in enumerate(matches, 1)
                ],
                "montage": montage and str(montage),
                "skipped": as_list(index.skipped),
            }
        )
    else:
        note(f"{len(index)} images, {index.reused} of them known from before")
        for rank, match in enumerate(matches, 1):
            print(f"{rank:3}  {match.score:6.3f}  {shown(match.name)}")
    finish(index.skipped, strict)

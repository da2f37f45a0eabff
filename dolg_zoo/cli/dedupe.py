"""`dolg dedupe`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dolg_zoo.cli.options import Images, Json, Precision, Preset, Runtime, Scales, Strict
from dolg_zoo.cli.reporting import as_list, finish, note, print_json
from dolg_zoo.cli.where import check_where, line_of, open_where, tell_missing


def dedupe(
    where: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder of images, or an index of one.")
    ],
    threshold: Annotated[
        float,
        typer.Option(min=-1, max=1, help="Minimum cosine similarity; 1 for identical."),
    ] = 0.95,
    images: Images = None,
    preset: Preset = None,
    scales: Scales = None,
    runtime: Runtime = None,
    precision: Precision = "float32",
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """List groups of near-duplicate images. Nothing is deleted.

    Two images are in one group if their cosine similarity is at least the threshold, or if a chain
    of such pairs connects them. The number beside an image is its cosine similarity with the first
    image of its group.

    \b
    Example:
      dolg dedupe photos/ --threshold 0.9
    """
    check_where(where, scales, images)
    index = open_where(where, preset, scales, images, runtime, precision)
    groups = index.duplicates(threshold)
    if as_json:
        print_json(
            {
                "folder": str(where),
                "preset": index.model.metadata["preset"],
                "images": len(index),
                "threshold": threshold,
                "kind": index.kind,
                "recall": index.recall,
                "groups": [
                    [
                        {
                            "name": match.name,
                            "path": str(match.path),
                            "score": round(match.score, 6),
                            "missing": not match.path.exists(),
                        }
                        for match in group
                    ]
                    for group in groups
                ],
                "skipped": as_list(index.skipped),
            }
        )
    else:
        more = sum(map(len, groups)) - len(groups)
        note(f"{len(index)} images, {len(groups)} groups: {more} could go")
        print(
            "\n\n".join("\n".join(line_of(match) for match in group) for group in groups),
            end="\n" if groups else "",
        )
    tell_missing([match for group in groups for match in group], where)
    finish(index.skipped, strict)

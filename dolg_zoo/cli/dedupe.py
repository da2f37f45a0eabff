"""`dolg dedupe`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dolg_zoo.cli.options import Embedding, FolderOrIndex, Images, Printing
from dolg_zoo.cli.reporting import fail_if, finish, note
from dolg_zoo.cli.where import check_where, fields_of, line_of, open_where, tell_missing


def dedupe(
    where: FolderOrIndex,
    *,
    threshold: Annotated[
        float, typer.Option(min=-1, max=1, help="Minimum cosine similarity; 1 for identical.")
    ] = 0.95,
    keep: Annotated[
        str,
        typer.Option(
            metavar="RULE",
            help="The image of each group to keep: largest (in pixels), oldest (by the time of its"
            " file) or first (by name).",
        ),
    ] = "first",
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="OUT.csv", help="Write the groups as a table.")
    ] = None,
    move_to: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Move all but the keepers to this folder.")
    ] = None,
    link_to: Annotated[
        Path | None,
        typer.Option(metavar="OUT", help="Make links to all but the keepers in this folder."),
    ] = None,
    images: Images = None,
    embedding: Embedding,
    printing: Printing,
) -> None:
    """List groups of near-duplicate images, the one to keep first. Nothing is deleted.

    Each image of a group has at least the threshold's cosine similarity with the first, the one to
    keep. The number beside an image is that similarity. --move-to keeps the folders of the images,
    and overwrites nothing.

    \b
    Example:
      dolg dedupe photos/ --threshold 0.9
      dolg dedupe photos/ --keep largest --csv groups.csv --move-to duplicates/
    """
    from dolg_zoo._util.arguments import one_of
    from dolg_zoo.retrieval.duplicate_files import RULES, TABLE, put_aside, write_table

    one_of("--keep", keep, RULES)
    if move_to and link_to:
        raise typer.BadParameter("give --move-to or --link-to, not both")
    check_where(where, embedding.scales, images)
    if csv:
        from dolg_zoo._util.outputs import check_output

        check_output(csv, TABLE)
    aside = move_to or link_to
    if aside and aside.exists() and not aside.is_dir():
        raise NotADirectoryError(f"{str(aside)!r} is a file; give a folder to put images into.")
    index = open_where(where, embedding, images)
    if aside and aside.resolve().is_relative_to(index.folder.resolve()):
        raise ValueError(
            f"{str(aside)!r} lies in the folder of the images, {str(index.folder)!r}, whose images"
            " the next search would find there again. Give a folder outside of it."
        )
    groups = index.duplicates(threshold, keep)
    others = [match for group in groups for match in group[1:]]
    if not printing.as_json:
        note(f"{len(index)} images, {len(groups)} groups: {len(others)} could go")
    printing.show(
        "\n\n".join("\n".join(map(line_of, group)) for group in groups),
        index.skipped,
        index.passed_over,
        folder=str(where),
        preset=index.model.metadata["preset"],
        images=len(index),
        threshold=threshold,
        kind=index.kind,
        recall=index.recall,
        groups=[
            [{**fields_of(match), "keep": match is group[0]} for match in group] for group in groups
        ],
    )
    if csv:
        write_table(groups, csv)
    tell_missing([match for group in groups for match in group], where)
    failed: dict[str, str] = {}
    if aside:
        failed = put_aside(others, aside, "move" if move_to else "link")
        done = "moved to" if move_to else "linked in"
        note(f"{len(others) - len(failed)} images were {done} {str(aside)!r}.")
        for name, reason in failed.items():
            note(f"  {name!r} was not: {reason}")
    finish(index.skipped, printing.strict and not failed, index.passed_over)
    fail_if(len(failed), len(others), "images could not be put aside")

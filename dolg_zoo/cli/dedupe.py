"""`dolg dedupe`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dolg_zoo.cli.options import Embedding, FolderOrIndex, Images, Printing
from dolg_zoo.cli.reporting import fail_if, finish, note
from dolg_zoo.cli.where import check_where, fields_of, line_of, open_where, tell_missing

if TYPE_CHECKING:
    from dolg_zoo.retrieval import Match


@dataclass(frozen=True)
class Options:
    """How images are grouped, and what happens to them."""

    threshold: Annotated[
        float, typer.Option(min=-1, max=1, help="Minimum cosine similarity; 1 for identical.")
    ] = 0.95
    keep: Annotated[
        str,
        typer.Option(
            metavar="RULE",
            help="The image of each group to keep: largest (in pixels), oldest (by the time of its"
            " file) or first (by name).",
        ),
    ] = "first"
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="OUT.csv", help="Write the groups as a table.")
    ] = None
    move_to: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Move all but the keepers to this folder.")
    ] = None
    link_to: Annotated[
        Path | None,
        typer.Option(metavar="OUT", help="Make links to all but the keepers in this folder."),
    ] = None
    images: Images = None


def dedupe(
    where: FolderOrIndex,
    *,
    options: Options,
    embedding: Embedding,
    printing: Printing,
) -> None:
    """List groups of near-duplicate images, the one to keep first. Nothing is deleted.

    The cosine similarity of each image to the first one, the image to keep, is at least the
    threshold; it is printed beside the image. --move-to keeps the folders of the images, and
    overwrites nothing.

    \b
    Example:
      dolg dedupe photos/ --threshold 0.9
      dolg dedupe photos/ --keep largest --csv groups.csv --move-to duplicates/
    """
    from dolg_zoo.retrieval.duplicate_files import write_table

    _check(where, options, embedding)
    index = open_where(where, embedding, options.images)
    aside = options.move_to or options.link_to
    if aside and aside.resolve().is_relative_to(index.folder.resolve()):
        raise ValueError(
            f"{str(aside)!r} lies in the folder of the images, {str(index.folder)!r}: the next"
            " search would find the images again. Give a folder outside of it."
        )
    groups = index.duplicates(options.threshold, options.keep)
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
        threshold=options.threshold,
        kind=index.kind,
        recall=index.recall,
        groups=[
            [{**fields_of(match), "keep": match is group[0]} for match in group] for group in groups
        ],
    )
    if options.csv:
        write_table(groups, options.csv)
    tell_missing([match for group in groups for match in group], where)
    failed = _put_aside(others, aside, options) if aside else {}
    finish(index.skipped, printing.strict and not failed, index.passed_over)
    fail_if(len(failed), len(others), "images could not be put aside")


def _check(where: Path, options: Options, embedding: Embedding) -> None:
    """Check the arguments before the model is loaded."""
    from dolg_zoo._util.arguments import one_of
    from dolg_zoo._util.outputs import check_output
    from dolg_zoo.retrieval.duplicate_files import RULES, TABLE

    one_of("--keep", options.keep, RULES)
    if options.move_to and options.link_to:
        raise typer.BadParameter("give --move-to or --link-to, not both")
    check_where(where, embedding.scales, options.images)
    if options.csv:
        check_output(options.csv, TABLE)
    aside = options.move_to or options.link_to
    if aside and aside.exists() and not aside.is_dir():
        raise NotADirectoryError(f"{str(aside)!r} is a file; give a folder to put images into.")


def _put_aside(matches: Sequence[Match], folder: Path, options: Options) -> dict[str, str]:
    """Move or link images, and report it; return the names and errors of the others."""
    from dolg_zoo.retrieval.duplicate_files import put_aside

    failed = put_aside(matches, folder, "move" if options.move_to else "link")
    done = "moved to" if options.move_to else "linked in"
    note(f"{len(matches) - len(failed)} images were {done} {str(folder)!r}.")
    for name, reason in failed.items():
        note(f"  not {name!r}: {reason}")
    return failed

"""`dolg dedupe`."""

from __future__ import annotations

import hashlib
import io
from csv import writer as csv_writer
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dolg_zoo.cli.options import Images, Json, Precision, Preset, Runtime, Scales, Strict
from dolg_zoo.cli.reporting import fail_if, finish, left_out, note, print_json
from dolg_zoo.cli.where import check_where, line_of, open_where, tell_missing

if TYPE_CHECKING:
    from dolg_zoo._util.outputs import Kind
    from dolg_zoo.retrieval import Match

COLUMNS = ("group", "keep", "score", "name", "path")


def dedupe(
    where: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder of images, or an index of one.")
    ],
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
    preset: Preset = None,
    scales: Scales = None,
    runtime: Runtime = None,
    precision: Precision = "float32",
    strict: Strict = False,
    as_json: Json = False,
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
    from dolg_zoo.retrieval.duplicate_files import RULES, put_aside

    one_of("--keep", keep, RULES)
    if move_to and link_to:
        raise typer.BadParameter("give --move-to or --link-to, not both")
    check_where(where, scales, images)
    if csv:
        from dolg_zoo._util.outputs import check_output

        check_output(csv, _table())
    aside = move_to or link_to
    if aside and aside.exists() and not aside.is_dir():
        raise NotADirectoryError(f"{str(aside)!r} is a file; give a folder to put images into.")
    index = open_where(where, preset, scales, images, runtime, precision)
    if aside and aside.resolve().is_relative_to(index.folder.resolve()):
        raise ValueError(
            f"{str(aside)!r} lies in the folder of the images, {str(index.folder)!r}, whose images"
            " the next search would find there again. Give a folder outside of it."
        )
    groups = index.duplicates(threshold, keep)
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
                            "keep": match is group[0],
                        }
                        for match in group
                    ]
                    for group in groups
                ],
                **left_out(index.skipped, index.passed_over),
            }
        )
    else:
        more = sum(map(len, groups)) - len(groups)
        note(f"{len(index)} images, {len(groups)} groups: {more} could go")
        print(
            "\n\n".join("\n".join(line_of(match) for match in group) for group in groups),
            end="\n" if groups else "",
        )
    if csv:
        _write_table(groups, csv)
    tell_missing([match for group in groups for match in group], where)
    failed: dict[str, str] = {}
    others = [match for group in groups for match in group[1:]]
    if aside:
        failed = put_aside(others, aside, "move" if move_to else "link")
        done = "moved to" if move_to else "linked in"
        note(f"{len(others) - len(failed)} images were {done} {str(aside)!r}.")
        for name, reason in failed.items():
            note(f"  {name!r} was not: {reason}")
    finish(index.skipped, strict and not failed, index.passed_over)
    fail_if(len(failed), len(others), "images could not be put aside")


def _table() -> Kind:
    from dolg_zoo._util.hashing import sha256_of
    from dolg_zoo._util.outputs import Kind
    from dolg_zoo._util.records import kept_record

    # one that the user has changed, be it by a column or a cell, is the user's
    return Kind(
        "an unchanged table of groups", lambda path: bool(kept_record(_record(sha256_of(path))))
    )


def _record(digest: str) -> Path | None:
    """Return the file in the cache that says that a table of this sha256 was written here."""
    from dolg_zoo._util.cache_folder import cache_folder

    return cache_folder("tables", f"{digest}.json")


def _write_table(groups: list[list[Match]], path: Path) -> None:
    from dolg_zoo._util.outputs import writing
    from dolg_zoo._util.records import keep_record

    table = io.StringIO()
    rows = csv_writer(table)
    rows.writerow(COLUMNS)
    for number, group in enumerate(groups, 1):
        for match in group:
            keep = "yes" if match is group[0] else "no"
            rows.writerow([number, keep, f"{match.score:.6f}", match.name, match.path])
    data = table.getvalue().encode(errors="surrogateescape")
    keep_record(_record(hashlib.sha256(data).hexdigest()), {"path": str(path)})
    with writing(path, _table()) as file:
        file.write(data)

"""`dolg search`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from dolg_zoo.cli.options import (
    Alpha,
    Box,
    Dba,
    Expand,
    Images,
    Json,
    Montage,
    Precision,
    Preset,
    Rerank,
    Runtime,
    Scales,
    Strict,
)
from dolg_zoo.cli.outputs import leave_stdout_to, shown
from dolg_zoo.cli.reporting import finish, left_out, note, print_json
from dolg_zoo.cli.where import check_where, contents_of, line_of, open_where, tell_missing

if TYPE_CHECKING:
    from dolg_zoo.preprocessing import ImageSource
    from dolg_zoo.retrieval import Index, Match


def search(
    where: Annotated[
        Path,
        typer.Argument(
            metavar="WHERE", help="A folder of images with its subfolders, or an index."
        ),
    ],
    queries: Annotated[
        list[Path],
        typer.Option("--query", "-q", metavar="IMAGE", help="The query image. Can be repeated."),
    ],
    box: Box = None,
    k: Annotated[
        int | None,
        typer.Option("-k", min=1, help="Number of results. (default: 10, or all with --threshold)"),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=-1, max=1, help="Only results with at least this cosine similarity."),
    ] = None,
    expand: Expand = 0,
    alpha: Alpha = 3.0,
    dba: Dba = 0,
    rerank: Rerank = 0,
    montage: Montage = None,
    label: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The class of the query, to mark the results in the montage as right or wrong. The"
            ' class of an image is the "label" in its metadata, or its subfolder if all images are'
            " in subfolders. (default: the class of the query, if it is one of the images)",
        ),
    ] = None,
    exclude_self: Annotated[
        bool,
        typer.Option(
            "--exclude-self", help="Leave the query out of its results, if it is one of the images."
        ),
    ] = False,
    images: Images = None,
    preset: Preset = None,
    scales: Scales = None,
    runtime: Runtime = None,
    precision: Precision = "float32",
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Search a folder or an index for images of the object or place in a query image.

    The descriptors of a folder are cached: the next search embeds only new and changed images.
    `dolg index` makes an index.

    \b
    Example:
      dolg search photos/ --query query.jpg -k 5 --montage found.png
      dolg search photos/ --query query.jpg --box 40,40,300,240 --expand 3
    """
    from dolg_zoo.errors import BadImageError
    from dolg_zoo.preprocessing import Crop
    from dolg_zoo.preprocessing.sources import image_sources
    from dolg_zoo.retrieval.search.ranking import Ranking

    queries = [
        cast("Path", path) for query in queries for path in image_sources(_meant(query, where))
    ]
    if label and not montage:
        raise typer.BadParameter("--label is for --montage")
    if len(queries) > 1 and (box or montage):
        raise typer.BadParameter("--box and --montage are for one query")
    if threshold is not None and (expand or rerank):
        raise typer.BadParameter("--threshold finds by cosine; leave out --expand and --rerank")
    # to fail before the model is loaded
    ranking = Ranking(expand=expand, alpha=alpha, rerank=rerank, dba=dba)
    check_where(where, scales, images)
    sources: list[ImageSource] = [Crop(query, box) if box else query for query in queries]
    unread = _unread(sources)
    if montage:
        from dolg_zoo.drawing.style import check_picture

        check_picture(montage, [*sources, where])
        leave_stdout_to(montage)

    index = open_where(where, preset, scales, images, runtime, precision)
    if dba and threshold is not None:
        index = index.augmented(dba, alpha)
    good = [number for number in range(len(sources)) if number not in unread]
    found: list[Sequence[Match]]
    if threshold is None:
        k = k or 10
        # one more, since the query may be left out
        results_of = index.search_each(
            [sources[number] for number in good], k + exclude_self, ranking
        )
        found = [each for each in results_of if not isinstance(each, BadImageError)]
    else:
        found = [index.within(sources[number], threshold) for number in good]
    if exclude_self:
        names = [_name_in(index, queries[number]) for number in good]
        found = [
            [match for match in matches if match.name != name]
            for name, matches in zip(names, found, strict=True)
        ]
    found = [matches[:k] for matches in found]
    skipped = index.skipped | {str(queries[number]): why for number, why in unread.items()}
    if as_json:
        results = [
            {"query": str(queries[number]), "matches": _as_list(matches)}
            for number, matches in zip(good, found, strict=True)
        ]
        print_json(
            {
                **(results[0] if len(queries) == 1 else {"results": results}),
                "folder": str(where),
                "preset": index.model.metadata["preset"],
                "images": len(index),
                "from_cache": index.reused,
                "kind": index.kind,
                "recall": index.recall,
                "montage": montage and str(montage),
                **left_out(skipped, index.passed_over),
            }
        )
    else:
        note(contents_of(index, where))
        for number, matches in zip(good, found, strict=True):
            if len(queries) > 1:
                print(shown(queries[number]))
            for rank, match in enumerate(matches, 1):
                print(f"{rank:3}  {line_of(match)}")
    if montage:
        from dolg_zoo.retrieval import Picture
        from dolg_zoo.retrieval import montage as draw_montage

        relevant = _relevant(index, queries[0], found[0], label)
        # what has gone since it was embedded, the query too, has an empty frame
        draw_montage(Picture(sources[0], queries[0].name), found[0], montage, relevant=relevant)
    tell_missing([match for matches in found for match in matches], where)
    finish(skipped, strict, index.passed_over)


def _meant(query: Path, where: Path) -> Path:
    """Return the path of a query: below the folder that is searched if it is nowhere else."""
    inside = where / query
    if query.is_absolute() or not inside.exists() or (query.exists() and query.samefile(inside)):
        return query
    taken = query if query.exists() else inside
    other = f", and not {str(inside)!r}" if taken is query else ""
    note(f"The query is {str(taken)!r}{other}.")
    return taken


def _relevant(
    index: Index, query: Path, matches: Sequence[Match], label: str | None
) -> list[bool | None] | None:
    """Return for each match whether it shows the same as the query; None if unknown."""
    from dolg_zoo._util.text import plain_label
    from dolg_zoo.preprocessing.files import folder_labels

    folders: Sequence[str | None] = folder_labels(index.names) or [None] * len(index)
    known = {
        name: plain_label(str(metadata["label"])) if "label" in metadata else folder
        for name, metadata, folder in zip(index.names, index.metadata, folders, strict=True)
    }
    own = _name_in(index, query)
    label = known.get(own or "") if label is None else plain_label(label)
    if not label:
        return None
    # that the query finds itself is no merit
    return [None if match.name == own else known[match.name] == label for match in matches]


def _name_in(index: Index, query: Path) -> str | None:
    """Return the name that the query has in the index; None if it is elsewhere."""
    with suppress(ValueError):
        return query.resolve().relative_to(index.folder.resolve()).as_posix()
    return None


def _unread(sources: Sequence[ImageSource]) -> dict[int, str]:
    """Return index to fault of unreadable queries; raise BadImageError if none is readable."""
    from dolg_zoo.errors import BadImageError
    from dolg_zoo.preprocessing import load_image

    unread = {}
    for number, source in enumerate(sources):
        try:
            load_image(source)
        except BadImageError as error:
            unread[number] = error.reason
            if len(unread) == len(sources):
                raise
    return unread


def _as_list(matches: Sequence[Match]) -> list[dict[str, Any]]:
    return [
        {
            "rank": rank,
            "name": match.name,
            "path": str(match.path),
            "score": round(match.score, 6),
            "missing": not match.path.exists(),
            **({"metadata": dict(match.metadata)} if match.metadata else {}),
        }
        for rank, match in enumerate(matches, 1)
    ]

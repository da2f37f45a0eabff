"""`dolg search`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from dolg_zoo.cli.options import (
    Box,
    Embedding,
    Images,
    Montage,
    Printing,
    RankingOptions,
    Where,
)
from dolg_zoo.cli.reporting import check_picture, note, shown
from dolg_zoo.cli.where import (
    check_where,
    contents_of,
    fields_of,
    line_of,
    open_where,
    tell_missing,
)

if TYPE_CHECKING:
    from dolg_zoo.preprocessing import ImageSource
    from dolg_zoo.retrieval import Index, Match


@dataclass(frozen=True)
class Options:
    """How to search, and how to show the results."""

    box: Box = None
    k: Annotated[
        int | None,
        typer.Option("-k", min=1, help="Number of results. (default: 10, or all with --threshold)"),
    ] = None
    threshold: Annotated[
        float | None,
        typer.Option(min=-1, max=1, help="Only results with at least this cosine similarity."),
    ] = None
    montage: Montage = None
    label: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The class of the query, to mark the results in the montage as right or wrong. The"
            ' class of an image is the "label" in its metadata, or its subfolder if all images are'
            " in subfolders. (default: the class of the query, if it is one of the images)",
        ),
    ] = None
    exclude_self: Annotated[
        bool,
        typer.Option(
            "--exclude-self", help="Leave the query out of its results, if it is one of the images."
        ),
    ] = False
    images: Images = None


def search(
    where: Where,
    queries: Annotated[
        list[Path],
        typer.Option("--query", "-q", metavar="IMAGE", help="The query image. Can be repeated."),
    ],
    *,
    options: Options,
    ranking: RankingOptions,
    embedding: Embedding,
    printing: Printing,
) -> None:
    """Search a folder or an index for images of the object or place in a query image.

    The descriptors of a folder are cached, so the next search embeds only new and changed images.
    `dolg index` makes an index.

    \b
    Example:
      dolg search photos/ --query query.jpg -k 5 --montage found.png
      dolg search photos/ --query query.jpg --box 40,40,300,240 --expand 3
    """
    from dolg_zoo.preprocessing import Crop
    from dolg_zoo.preprocessing.sources import image_sources

    queries = [
        cast("Path", path) for query in queries for path in image_sources(_query_path(query, where))
    ]
    _check(where, queries, options, ranking, embedding)
    sources = {query: Crop(query, options.box) if options.box else query for query in queries}
    unread = _faults_of(sources)
    index = open_where(where, embedding, options.images)
    if ranking.dba and options.threshold is not None:
        index = index.augmented(ranking.dba, ranking.alpha)
    good = [query for query in queries if str(query) not in unread]
    matches = _matches(index, good, sources, options, ranking)
    skipped = index.skipped | unread
    results = [
        {"query": str(query), "matches": _as_list(each)}
        for query, each in zip(good, matches, strict=True)
    ]
    if not printing.as_json:
        note(contents_of(index, where))
    printing.show(
        "\n".join(_lines(good, matches, with_queries=len(queries) > 1)),
        skipped,
        index.passed_over,
        **(results[0] if len(queries) == 1 else {"results": results}),
        folder=str(where),
        preset=index.model.metadata["preset"],
        images=len(index),
        from_cache=index.reused,
        kind=index.kind,
        recall=index.recall,
        montage=options.montage and str(options.montage),
    )
    if options.montage:
        _draw(index, queries[0], sources[queries[0]], matches[0], options)
    tell_missing([match for each in matches for match in each], where)
    printing.finish(skipped, index.passed_over)


def _check(
    where: Path,
    queries: Sequence[Path],
    options: Options,
    ranking: RankingOptions,
    embedding: Embedding,
) -> None:
    """Check the arguments before the model is loaded."""
    if options.label and not options.montage:
        raise typer.BadParameter("--label is for --montage")
    if len(queries) > 1 and (options.box or options.montage):
        raise typer.BadParameter("--box and --montage are for one query")
    if options.threshold is not None and (ranking.expand or ranking.rerank):
        raise typer.BadParameter("--threshold finds by cosine; leave out --expand and --rerank")
    ranking.checked()
    check_where(where, embedding.scales, options.images)
    check_picture(options.montage, [*queries, where])


def _draw(
    index: Index, query: Path, source: ImageSource, matches: Sequence[Match], options: Options
) -> None:
    from dolg_zoo.retrieval import Picture, montage
    from dolg_zoo.retrieval.relevance import relevant

    marks = relevant(index, query, matches, options.label)
    # an image that was deleted after embedding, even the query, has an empty frame
    montage(Picture(source, query.name), matches, options.montage, relevant=marks)


def _matches(
    index: Index,
    queries: Sequence[Path],
    sources: Mapping[Path, ImageSource],
    options: Options,
    ranking: RankingOptions,
) -> list[list[Match]]:
    """Return the results of each query: the first k, or all above the threshold."""
    from dolg_zoo.errors import BadImageError
    from dolg_zoo.retrieval.relevance import name_in

    images = [sources[query] for query in queries]
    results: list[Sequence[Match]]
    k, exclude_self = options.k, options.exclude_self
    if options.threshold is None:
        k = k or 10
        # one more result, since the query may be removed
        results_of = index.search_each(images, k + exclude_self, ranking.checked())
        results = [each for each in results_of if not isinstance(each, BadImageError)]
    else:
        results = [index.within(image, options.threshold) for image in images]
    own = [name_in(index, query) if exclude_self else None for query in queries]
    return [
        [match for match in matches if match.name != name][:k]
        for name, matches in zip(own, results, strict=True)
    ]


def _lines(
    queries: Sequence[Path], results: Sequence[Sequence[Match]], with_queries: bool
) -> Iterator[str]:
    for query, matches in zip(queries, results, strict=True):
        if with_queries:
            yield shown(query)
        yield from (f"{rank:3}  {line_of(match)}" for rank, match in enumerate(matches, 1))


def _query_path(query: Path, where: Path) -> Path:
    """Return the path of a query, or the path in the searched folder if only that exists."""
    inside = where / query
    if query.is_absolute() or not inside.exists() or (query.exists() and query.samefile(inside)):
        return query
    taken = query if query.exists() else inside
    other = f", and not {str(inside)!r}" if taken is query else ""
    note(f"The query is {str(taken)!r}{other}.")
    return taken


def _faults_of(sources: Mapping[Path, ImageSource]) -> dict[str, str]:
    """Return the errors of unreadable queries; raise BadImageError if all are unreadable."""
    from dolg_zoo.errors import BadImageError
    from dolg_zoo.preprocessing import load_image

    unread = {}
    for query, source in sources.items():
        try:
            load_image(source)
        except BadImageError as error:
            unread[str(query)] = error.reason
            if len(unread) == len(sources):
                raise
    return unread


def _as_list(matches: Sequence[Match]) -> list[dict[str, Any]]:
    return [
        {
            "rank": rank,
            **fields_of(match),
            **({"metadata": dict(match.metadata)} if match.metadata else {}),
        }
        for rank, match in enumerate(matches, 1)
    ]

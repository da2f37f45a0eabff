"""`dolg index`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dolg_zoo.cli.options import OUTPUT, Embedding, Printing, RemoveMissing
from dolg_zoo.cli.reporting import note, shown
from dolg_zoo.cli.where import open_index

if TYPE_CHECKING:
    from dolg_zoo.embedders.base import ImageEmbedder
    from dolg_zoo.retrieval import Index
    from dolg_zoo.retrieval.extraction.identity import Changes

KINDS = ("auto", "exact", "hnsw", "ivfpq")


def _kind(kind: str) -> str:
    if kind not in KINDS:
        raise typer.BadParameter(f"{kind!r} must be one of {', '.join(KINDS)}")
    return kind


@dataclass(frozen=True)
class Options:
    """How to make or change an index."""

    kind: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            callback=_kind,
            help="exact; hnsw or ivfpq: approximate, faster; auto: chosen by the number of images.",
        ),
    ] = "auto"
    recall: Annotated[
        float,
        typer.Option(min=0, max=1, help="Recall at 10 that an approximate index should reach."),
    ] = 0.95
    update: Annotated[
        bool, typer.Option("--update", help="Update INDEX: add, replace and remove images.")
    ] = False
    remove: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Remove an image from INDEX. Can be repeated."),
    ] = None
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder of the images of a store.")
    ] = None
    remove_missing: RemoveMissing = False


def index(
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="SOURCE", help="A folder of images with its subfolders, or a descriptor store."
        ),
    ] = None,
    *,
    output: Annotated[Path, typer.Option(*OUTPUT, metavar="INDEX", help="The folder to write to.")],
    options: Options,
    embedding: Embedding,
    printing: Printing,
) -> None:
    """Make an index of a folder of images, for `dolg search`.

    An approximate index measures its recall on its own images and searches as thoroughly as
    --recall requires.

    \b
    Example:
      dolg index photos/ -o photos.index
      dolg search photos.index --query query.jpg

    \b
    After photographs have changed:
      dolg index photos/ -o photos.index --update
    """
    _check(source, output, options, embedding)
    result, changes = _changed(source, output, options, embedding)
    result.save(output)
    recalled = "" if result.kind == "exact" else f", finds {result.recall:.1%} of the ten nearest"
    changed = f" ({changes})" if options.update or options.remove else ""
    printing.show(
        f"{len(result)} images{changed}, {result.kind}{recalled}: {shown(output)}",
        result.skipped,
        result.passed_over,
        index=str(output),
        folder=str(result.folder),
        preset=result.model.metadata["preset"],
        model_id=result.model_id,
        images=len(result),
        **asdict(changes),
        from_cache=result.reused,
        kind=result.kind,
        recall=result.recall,
        scales=result.scales,
    )
    if result.kind != "exact" and result.recall < result.asked_recall:
        note(f"--recall {result.asked_recall:.1%} was not reached; --kind exact finds all.")
    printing.finish(result.skipped, result.passed_over)


def _check(source: Path | None, output: Path, options: Options, embedding: Embedding) -> None:
    """Check the arguments before the model is loaded."""
    from dolg_zoo._util.outputs import check_output
    from dolg_zoo._util.own_folders import INDEX
    from dolg_zoo.preprocessing import list_images
    from dolg_zoo.retrieval.index.folder import is_index_folder

    is_change = options.update or bool(options.remove)
    if (source is None) != bool(options.remove):
        raise typer.BadParameter("give either a SOURCE to index or --remove NAME")
    if options.remove_missing and not options.update:
        raise typer.BadParameter("--remove-missing is for --update")
    if (is_change or _is_store(source)) and embedding.scales is not None:
        raise typer.BadParameter("an index or a store has its own scales; leave out --scales")
    if options.images and not _is_store(source):
        raise typer.BadParameter("--images is for a store; a folder's images are in the folder")
    if is_change and not is_index_folder(output):
        raise FileNotFoundError(f"There is no index in {str(output)!r} to change.")
    images = None if _is_store(source) else source
    check_output(output, INDEX, [] if is_change else [images])
    if images is not None:
        list_images(images)


def _is_store(source: Path | None) -> bool:
    return source is not None and (source / "store.json").is_file()


def _changed(
    source: Path | None, output: Path, options: Options, embedding: Embedding
) -> tuple[Index, Changes]:
    """Return the index to save, and its changes."""
    from dolg_zoo.preprocessing import list_images
    from dolg_zoo.retrieval.extraction.identity import Changes

    if options.remove:
        result = open_index(output, embedding)
        result.remove(options.remove)
        return result, Changes(removed=len(set(options.remove)), kept=len(result))
    assert source is not None  # `_check` has required it
    if options.update:
        result = open_index(output, embedding)
        folder = options.images or result.folder
        fresh = _index_of(source, result.model, folder, result.scales, options, "exact")
        changes = result.update(fresh, remove_missing=options.remove_missing)
        result.folder = fresh.folder
        return result, changes
    model = embedding.load(None if _is_store(source) else partial(list_images, source))
    folder = options.images or Path()
    result = _index_of(source, model, folder, embedding.scales, options, options.kind)
    return result, Changes(added=len(result))


def _index_of(
    source: Path,
    model: ImageEmbedder,
    folder: Path,
    scales: Sequence[float] | None,
    options: Options,
    kind: str,
) -> Index:
    from dolg_zoo.retrieval import Index

    if _is_store(source):
        return Index.from_store(source, model, folder, kind=kind, recall=options.recall)
    return Index.build(model, source, scales=scales, cache=True, kind=kind, recall=options.recall)

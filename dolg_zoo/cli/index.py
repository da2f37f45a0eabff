"""`dolg index`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dolg_zoo.cli.options import OUTPUT, Embedding, Printing, RemoveMissing
from dolg_zoo.cli.reporting import note, shown
from dolg_zoo.cli.where import open_index

if TYPE_CHECKING:
    from dolg_zoo.embedders.base import ImageEmbedder

KINDS = ("auto", "exact", "hnsw", "ivfpq")


def _kind(kind: str) -> str:
    if kind not in KINDS:
        raise typer.BadParameter(f"{kind!r} must be one of {', '.join(KINDS)}")
    return kind


def index(
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="SOURCE", help="A folder of images with its subfolders, or a descriptor store."
        ),
    ] = None,
    *,
    output: Annotated[Path, typer.Option(*OUTPUT, metavar="INDEX", help="The folder to write to.")],
    kind: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            callback=_kind,
            help="exact; hnsw or ivfpq: approximate, faster; auto: chosen by the number of images.",
        ),
    ] = "auto",
    recall: Annotated[
        float,
        typer.Option(min=0, max=1, help="Recall at 10 that an approximate index should reach."),
    ] = 0.95,
    update: Annotated[
        bool, typer.Option("--update", help="Add, replace and remove what has changed in SOURCE.")
    ] = False,
    remove: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Remove an image from INDEX. Can be repeated."),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder of the images of a store.")
    ] = None,
    remove_missing: RemoveMissing = False,
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
    from dolg_zoo.preprocessing import list_images
    from dolg_zoo.retrieval import Index
    from dolg_zoo.retrieval.extraction.identity import Changes

    if (source is None) != bool(remove):
        raise typer.BadParameter("give either a SOURCE to index or --remove NAME")
    if remove_missing and not update:
        raise typer.BadParameter("--remove-missing is for --update")
    is_store = source is not None and (source / "store.json").is_file()
    if (update or remove or is_store) and embedding.scales is not None:
        raise typer.BadParameter("what is there has its own scales; leave out --scales")
    if images and not is_store:
        raise typer.BadParameter("--images is for a store; a folder's images are in the folder")
    _check(None if is_store else source, output, update or bool(remove))

    def made_of_source(model: ImageEmbedder, kind: str, scales: Sequence[float] | None) -> Index:
        assert source is not None  # else there is something to remove
        if is_store:
            folder = images or (made.folder if update else ".")
            return Index.from_store(source, model, folder, kind=kind, recall=recall)
        return Index.build(model, source, scales=scales, cache=True, kind=kind, recall=recall)

    if remove:
        made = open_index(output, embedding)
        made.remove(remove)
        changes = Changes(removed=len(set(remove)), kept=len(made))
    elif update:
        made = open_index(output, embedding)
        fresh = made_of_source(made.model, "exact", made.scales)
        changes = made.update(fresh, remove_missing=remove_missing)
        made.folder = fresh.folder
    else:
        sample = None if is_store or source is None else partial(list_images, source)
        made = made_of_source(embedding.load(sample), kind, embedding.scales)
        changes = Changes(added=len(made))
    made.save(output)
    recalled = "" if made.kind == "exact" else f", finds {made.recall:.1%} of the ten nearest"
    changed = f" ({changes})" if update or remove else ""
    printing.show(
        f"{len(made)} images{changed}, {made.kind}{recalled}: {shown(output)}",
        made.skipped,
        made.passed_over,
        index=str(output),
        folder=str(made.folder),
        preset=made.model.metadata["preset"],
        model_id=made.model_id,
        images=len(made),
        **asdict(changes),
        from_cache=made.reused,
        kind=made.kind,
        recall=made.recall,
        scales=made.scales,
    )
    if made.kind != "exact" and made.recall < made.asked_recall:
        note(f"{made.asked_recall:.1%} were asked for; --kind exact finds all.")
    printing.finish(made.skipped, made.passed_over)


def _check(images: Path | None, output: Path, there: bool) -> None:
    """Check the arguments before the model is loaded."""
    from dolg_zoo._util.outputs import check_output
    from dolg_zoo._util.own_folders import INDEX
    from dolg_zoo.preprocessing import list_images
    from dolg_zoo.retrieval.index.folder import is_index_folder

    if there and not is_index_folder(output):
        raise FileNotFoundError(f"There is no index in {str(output)!r} to change.")
    check_output(output, INDEX, [] if there else [images])
    if images is not None:
        list_images(images)

"""The argument WHERE: a folder of images, or an index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dolg_zoo.cli.options import Embedding
from dolg_zoo.cli.reporting import note, shown

if TYPE_CHECKING:
    from dolg_zoo.preprocessing import PassedOver
    from dolg_zoo.retrieval import Index, Match


def check_where(where: Path, scales: object, images: Path | None) -> PassedOver | None:
    """Check WHERE before a model is loaded; return the ignored files of a folder."""
    from dolg_zoo._util.own_folders import STORE
    from dolg_zoo.preprocessing import list_images
    from dolg_zoo.retrieval.index.folder import has_images, is_index_folder

    if is_index_folder(where):
        if has_images(where):
            note(f"{str(where)!r} is an index and also holds images: the index is used.")
        if scales is not None:
            raise typer.BadParameter("an index has its own scales; leave out --scales")
    elif images is not None:
        raise typer.BadParameter(f"{str(where)!r} is no index; leave out --images")
    elif where.is_dir() and STORE.owns(where):
        raise ValueError(
            f"{str(where)!r} is a store of descriptors; make an index of it to search in:"
            f" `dolg index {where} -o INDEX`."
        )
    else:
        try:
            return list_images(where).passed_over
        except FileNotFoundError as error:
            how = f"; `dolg index DIR -o {where}` makes an index of a folder"
            raise FileNotFoundError(f"{error}{how}") from None
    return None


def open_where(
    where: Path,
    embedding: Embedding,
    images: Path | None,
) -> Index:
    """Return the index in a folder, or a new index of the folder's images."""
    from dolg_zoo.preprocessing import list_images
    from dolg_zoo.retrieval import Index
    from dolg_zoo.retrieval.index.folder import is_index_folder

    if is_index_folder(where):
        return open_index(where, embedding, images)
    model = embedding.load(partial(list_images, where))
    return Index.build(model, where, scales=embedding.scales, cache=True, kind="exact")


def open_index(folder: Path, embedding: Embedding, images: Path | None = None) -> Index:
    """Return an index, with the given preset's model or, without one, the model that made it."""
    from dolg_zoo.presets.registry import of_the_zoo, preset_names
    from dolg_zoo.retrieval import Index
    from dolg_zoo.retrieval.index.folder import read_folder

    if embedding.preset is None:
        # only named presets: an index from a stranger must not cause other downloads
        made_with = read_folder(folder)[0].get("model_name")
        if made_with in preset_names():
            embedding = replace(embedding, preset=of_the_zoo(made_with))
    return Index.load(folder, embedding.load(), images)


def contents_of(index: Index, where: Path) -> str:
    """Return a sentence with the numbers of images and of images embedded now."""
    from dolg_zoo.retrieval.index.folder import is_index_folder

    if is_index_folder(where):
        return f"{len(index)} images in the index"
    return f"{len(index)} images, {len(index) - index.reused} of them embedded now"


def tell_missing(matches: Sequence[Match], where: Path) -> None:
    """Report the number of missing results, and a remedy."""
    if missing := [match for match in matches if not match.path.exists()]:
        note(
            f"{len(missing)} of the images found are missing, such as {str(missing[0].path)!r}."
            f" `dolg index DIR -o {where} --update` removes them. If the images have moved, give"
            " their folder with --images DIR."
        )


def line_of(match: Match) -> str:
    """Return the score and the name of a result, and whether its file is missing."""
    missing = "" if match.path.exists() else "  (missing)"
    return f"{match.score:6.3f}  {shown(match.name)}{missing}"


def fields_of(match: Match) -> dict[str, Any]:
    """Return a result for JSON."""
    return {
        "name": match.name,
        "path": str(match.path),
        "score": round(match.score, 6),
        "missing": not match.path.exists(),
    }

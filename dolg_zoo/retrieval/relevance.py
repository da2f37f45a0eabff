"""The class of a query, and the results of the same class."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dolg_zoo._util.text import plain_label
from dolg_zoo.preprocessing.files import folder_labels

if TYPE_CHECKING:
    from dolg_zoo.retrieval.index.gallery import Gallery
    from dolg_zoo.retrieval.matches import Match


def relevant(
    gallery: Gallery, query: Path, matches: Sequence[Match], label: str | None = None
) -> list[bool | None] | None:
    """Return for each match whether it has the query's class; None if the class is unknown."""
    # `label` None: the class of the query in the gallery, if it is there.
    folders: Sequence[str | None] = folder_labels(gallery.names) or [None] * len(gallery)
    label_of = {
        name: plain_label(str(metadata["label"])) if "label" in metadata else folder
        for name, metadata, folder in zip(gallery.names, gallery.metadata, folders, strict=True)
    }
    query_name = name_in(gallery, query)
    label = label_of.get(query_name or "") if label is None else plain_label(label)
    if not label:
        return None
    # The query's own image is neither right nor wrong.
    return [
        None if match.name == query_name else label_of[match.name] == label for match in matches
    ]


def name_in(gallery: Gallery, image: Path) -> str | None:
    """Return an image file's name below the gallery's folder; None if it is outside."""
    with suppress(ValueError):
        return image.resolve().relative_to(gallery.folder.resolve()).as_posix()
    return None

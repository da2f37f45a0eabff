"""The class of a query, and the results that are of the same."""

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
    """Return for each match whether it is of the query's class; None if that is unknown."""
    # `label` is the class; None for the query's own, if it is in the gallery
    folders: Sequence[str | None] = folder_labels(gallery.names) or [None] * len(gallery)
    known = {
        name: plain_label(str(metadata["label"])) if "label" in metadata else folder
        for name, metadata, folder in zip(gallery.names, gallery.metadata, folders, strict=True)
    }
    own = name_in(gallery, query)
    label = known.get(own or "") if label is None else plain_label(label)
    if not label:
        return None
    # that the query finds itself is no merit
    return [None if match.name == own else known[match.name] == label for match in matches]


def name_in(gallery: Gallery, image: Path) -> str | None:
    """Return the name that an image file has in the gallery; None if it is elsewhere."""
    with suppress(ValueError):
        return image.resolve().relative_to(gallery.folder.resolve()).as_posix()
    return None

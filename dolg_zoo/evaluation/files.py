"""The images of a task: files that must all exist, or a store of descriptors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dolg_zoo.preprocessing import list_images
from dolg_zoo.retrieval import DescriptorStore
from dolg_zoo.retrieval.extraction.store import Settings

if TYPE_CHECKING:
    from dolg_zoo.embedders.base import ImageEmbedder


def open_descriptors(
    folder: str | Path, model: ImageEmbedder | None, scales: Sequence[float] | None = None
) -> DescriptorStore:
    """Open a store; raise StoreError if its model, dimension or scales are not the model's."""
    # Without a model, every store is accepted; without scales, the model's scales are expected.
    store = DescriptorStore.open(folder)
    if model is not None:
        store.settings.check_same(Settings.of(model, scales, store.dtype), store.folder)
    return store


def find_images(folder: str | Path, names: Sequence[str]) -> tuple[dict[str, Path], list[Path]]:
    """Find named images below a folder, with any suffix; return their paths and other images."""
    # FileNotFoundError: an image is missing. ValueError: two files have the same name.
    needed, extra = set(names), []
    paths: dict[str, Path] = {}
    for path in list_images(folder):
        if path.stem not in needed:
            extra.append(path)
        elif paths.setdefault(path.stem, path) != path:
            raise ValueError(
                f"{path.stem!r} could be {str(paths[path.stem])!r} or {str(path)!r}; remove one."
            )
    missing = [name for name in dict.fromkeys(names) if name not in paths]
    check_complete(missing, len(needed), folder)
    return paths, extra


def check_complete(missing: Sequence[str], needed: int, folder: str | Path) -> None:
    """Raise FileNotFoundError, with up to five names, if any needed image is missing."""
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {needed} images are not in {str(folder)!r}: {first_names(missing)}."
        )


def first_names(names: Iterable[object]) -> str:
    """Return the first five names for a message."""
    texts = [str(name) for name in names]
    return ", ".join(texts[:5]) + (", …" if len(texts) > 5 else "")

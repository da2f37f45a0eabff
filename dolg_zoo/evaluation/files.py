"""The images of a task: files that must be there, or a store of descriptors."""

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
    # without a model, any store is taken; without scales, the model's own are expected
    store = DescriptorStore.open(folder)
    if model is not None:
        store.settings.check_same(Settings.of(model, scales, store.dtype), store.folder)
    return store


def find_images(folder: str | Path, names: Sequence[str]) -> tuple[dict[str, Path], list[Path]]:
    """Find named images below a folder, with any suffix; return their paths and other images."""
    # A FileNotFoundError names up to five missing images; a ValueError says that a name has two
    # files.
    wanted, extra = set(names), []
    paths: dict[str, Path] = {}
    for path in list_images(folder):
        if path.stem not in wanted:
            extra.append(path)
        elif paths.setdefault(path.stem, path) != path:
            raise ValueError(
                f"{path.stem!r} could be {str(paths[path.stem])!r} or {str(path)!r}; remove one."
            )
    missing = [name for name in dict.fromkeys(names) if name not in paths]
    check_complete(missing, len(wanted), folder)
    return paths, extra


def check_complete(missing: Sequence[str], needed: int, folder: str | Path) -> None:
    """Raise FileNotFoundError if any of the needed images is missing; it names up to five."""
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {needed} images are not in {str(folder)!r}: {some(missing)}."
        )


def some(names: Iterable[object]) -> str:
    """Return up to five of some names, for a message."""
    texts = [str(name) for name in names]
    return ", ".join(texts[:5]) + (", …" if len(texts) > 5 else "")

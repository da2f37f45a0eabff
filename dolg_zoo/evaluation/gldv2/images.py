"""Images of Google Landmarks v2: files, or descriptors in a store."""

from __future__ import annotations

from collections.abc import Collection as Container
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from dolg_zoo._util.files import user_path
from dolg_zoo.errors import StoreError
from dolg_zoo.evaluation.collection import Collection, embedded, open_descriptors
from dolg_zoo.evaluation.gldv2.lists import IMAGE_ID
from dolg_zoo.evaluation.image_files import check_complete
from dolg_zoo.preprocessing import list_images
from dolg_zoo.retrieval import DescriptorStore

if TYPE_CHECKING:
    from dolg_zoo.embedders.base import ImageEmbedder


@dataclass(frozen=True)
class Images:
    """Images of Google Landmarks v2 by their ids: files, or descriptors in a store."""

    folder: Path  # of the files or of the store
    paths: Mapping[str, Path] | None  # id to file; None for a store
    wanted: Container[str] | None = None  # the ids to use; None for all

    @classmethod
    def find(cls, folder: str | Path, needed: Container[str], only_these: bool) -> Images:
        """Find images in a folder, flat or as a/b/c/abc….jpg, or open a store there."""
        # A FileNotFoundError names up to five missing images of `needed`. `only_these` ignores
        # others.
        folder, wanted = user_path(folder), needed if only_these else None
        if (folder / "store.json").is_file():
            return cls(folder, None, wanted)
        found = {path.stem: path for path in list_images(folder) if IMAGE_ID.fullmatch(path.stem)}
        check_complete(sorted(set(needed) - found.keys()), len(needed), folder)
        paths = {name: path for name, path in found.items() if wanted is None or name in wanted}
        return cls(folder, paths, wanted)

    def described(
        self, model: ImageEmbedder | None, scales: Sequence[float] | None, progress: bool
    ) -> tuple[Collection, dict[str, str], DescriptorStore | None]:
        """Return the descriptors by id, the failed images, and the store of the descriptors."""
        if self.paths is not None:
            assert model is not None  # `needs_model` of the task says so
            return *embedded(model, self.paths, self.folder, scales, progress), None
        store = open_descriptors(self.folder, model, scales)
        collection = Collection.of_store(store)
        ids = [PurePosixPath(name).stem for name in collection.names]
        collection = Collection(ids, collection.dim, collection.parts)
        keep = np.array([self.wanted is None or name in self.wanted for name in ids], bool)
        if not keep.any():
            raise StoreError(
                f"None of the {len(ids)} descriptors in {str(self.folder)!r} is of an image that is"
                f" wanted; the first is of {ids[0] if ids else None!r}."
            )
        return collection.only(keep), {}, store

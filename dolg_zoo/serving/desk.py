"""The actions of the page, without the page: search, explain, add."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dolg_zoo._util.arguments import one_of
from dolg_zoo._util.files import replacing
from dolg_zoo.errors import BadImageError
from dolg_zoo.preprocessing import Crop, load_image
from dolg_zoo.preprocessing.decode import ending_of
from dolg_zoo.retrieval import Ranking

if TYPE_CHECKING:
    from dolg_zoo.embedders.base import ImageEmbedder
    from dolg_zoo.explaining import Explains, Explanation
    from dolg_zoo.preprocessing import ImageSource
    from dolg_zoo.retrieval import Index, Matches

RANKINGS = {
    "by similarity": Ranking(),
    "query expansion with the first 3": Ranking(expand=3),
    "re-ranking of the first 50 by their neighbours": Ranking(rerank=50),
}
MAX_BYTES = 20 * 2**20
"""Maximum size of an uploaded file; a photograph has about 5 MiB."""
MAX_ADDED = 50
"""Maximum number of files to add at once."""
ADDED = "added"
"""The subfolder for added images."""


@dataclass(frozen=True)
class Added:
    """The result of adding files.

    Attributes:
        names: names of the added images in the index.
        refused: names of the other files, and the reasons.
    """

    names: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


class SearchDesk:
    """An index with its models, for one search at a time.

    Args:
        open_index: opens the index for a preset.
        load_explainer: loads the explainer of a preset's scores.
        presets: the presets to choose from; the first is opened at once.
    """

    def __init__(
        self,
        open_index: Callable[[str | None], Index],
        load_explainer: Callable[[str], Explains],
        presets: Sequence[str | None],
    ) -> None:
        self.presets = list(presets)
        self._open_index, self._load_explainer = open_index, load_explainer
        # by preset; all stay in memory, since presets are few
        self._indexes: dict[str | None, Index] = {}
        self._explainers: dict[str, Explains] = {}
        # requests wait for each other, since cores are few
        self._lock = threading.Lock()
        self.index(self.presets[0])

    def index(self, preset: str | None) -> Index:
        """Return the index for a preset, opened at first use.

        Raises:
            ValueError: if the preset is not in `presets`.
        """
        if preset not in self.presets:
            raise ValueError(f"There is no preset {preset!r} here.")
        with self._lock:
            if preset not in self._indexes:
                self._indexes[preset] = self._open_index(preset)
            return self._indexes[preset]

    def search(
        self,
        preset: str | None,
        image: ImageSource,
        box: tuple[float, float, float, float] | None = None,
        k: int = 12,
        ranking: str = "by similarity",
    ) -> Matches:
        """Return the images most similar to an image, or to its part in a box, best first.

        Raises:
            BadImageError: if the image cannot be read.
            ValueError: if an argument is out of its range.
        """
        one_of("ranking", ranking, RANKINGS)
        index = self.index(preset)
        query = part_of(image, box)
        with self._lock:
            return index.search(query, k, RANKINGS[ranking])

    def photo(self, preset: str | None, name: str) -> Path:
        """Return the path of an image of the index.

        Raises:
            ValueError: if the index has no such image: visitors can open no other file.
        """
        index = self.index(preset)
        if name not in index.names:
            raise ValueError(f"There is no image {name!r} in the index.")
        return index.folder / name

    def explain(
        self,
        preset: str | None,
        image: ImageSource,
        name: str,
        box: tuple[float, float, float, float] | None = None,
    ) -> Explanation:
        """Explain why an image matches an image of the index.

        Raises:
            BadImageError: if one of the two cannot be read.
            ValueError: if there is no image of that name in the index.
        """
        path, model = self.photo(preset, name), self.index(preset).model
        with self._lock:
            # a compiled model computes only the score
            explain = getattr(model, "explain", None) or self._explainer(model).explain
            return explain(part_of(image, box), path)

    def _explainer(self, model: ImageEmbedder) -> Explains:
        of = model.metadata["preset"]
        if of not in self._explainers:
            self._explainers[of] = self._load_explainer(of)
        return self._explainers[of]

    def add(self, preset: str | None, files: Sequence[Path]) -> Added:
        """Add images to the indexed folder and to the index; refuse other files.

        A loaded index is saved with the images, and with other processes' changes since then.

        Args:
            preset: the preset of the index; indexes of other presets are opened again.
            files: at most `MAX_ADDED`. They are saved under their sha256 in the subfolder `added`,
                so visitors cannot choose the name of a file.

        Raises:
            ValueError: if there are too many files.
        """
        if len(files) > MAX_ADDED:
            raise ValueError(f"{len(files)} files at once are too many; add at most {MAX_ADDED}.")
        index = self.index(preset)
        added = Added()
        for file in files:
            try:
                added.names.append(_keep(file, index.folder))
            except (BadImageError, OSError, ValueError) as error:
                added.refused[file.name] = getattr(error, "reason", str(error))
        new = list(dict.fromkeys(name for name in added.names if name not in index.names))
        if new:
            with self._lock:
                if index.path is not None:
                    index = type(index).load(index.path, index.model, index.folder)
                index.add(new)
                self._indexes = {preset: index}  # other indexes are opened again, with the images
                if index.path is not None:
                    try:
                        index.save(index.path)
                    except OSError as error:  # the index in memory has the images
                        why = f"it cannot be written, and forgets them at the next start: {error}"
                        added.refused[str(index.path)] = why
        return added


def part_of(image: ImageSource, box: tuple[float, float, float, float] | None) -> ImageSource:
    """Return the part of an image in a box, or all of it without one."""
    if box is None or isinstance(image, Crop):
        return image
    return Crop(image, box)


def _keep(file: Path, folder: Path) -> str:
    """Copy an image into the folder of an index, and return its name there."""
    if file.stat().st_size > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES // 2**20} MiB")
    load_image(file)  # raises an error unless it is an image
    data = file.read_bytes()
    name = f"{ADDED}/{hashlib.sha256(data).hexdigest()[:16]}{ending_of(file)}"
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as copy:
        copy.write(data)
    return name

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
"""Of a file that is uploaded; a photograph has some 5 MiB."""
MAX_ADDED = 50
"""Files that may be added at once."""
ADDED = "added"
"""The subfolder that images are added to."""


@dataclass(frozen=True)
class Added:
    """What came of files that were to be added.

    Attributes:
        names: in the index, of those that were.
        refused: the others' file names, and why.
    """

    names: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


class SearchDesk:
    """An index, the models of it, and one search at a time.

    Args:
        open_index: opens the index for a preset.
        load_explainer: loads what explains the scores of a preset.
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
        # for each preset; they are few and stay
        self._indexes: dict[str | None, Index] = {}
        self._explainers: dict[str, Explains] = {}
        # the cores are few as well: requests wait for one another
        self._lock = threading.Lock()
        self.index(self.presets[0])

    def index(self, preset: str | None) -> Index:
        """Return the index for a preset, opened when it is first asked for.

        Raises:
            ValueError: if the preset is not among those that can be chosen.
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
        """Return the images most like one, or like the part of it in a box, best first.

        Raises:
            BadImageError: if the image cannot be read.
            ValueError: if something is out of its range.
        """
        one_of("ranking", ranking, RANKINGS)
        index = self.index(preset)
        query = part_of(image, box)
        with self._lock:
            return index.search(query, k, RANKINGS[ranking])

    def photo(self, preset: str | None, name: str) -> Path:
        """Where an image of the index is.

        Raises:
            ValueError: if there is none of that name: no other file is ever opened for a visitor.
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
        """Explain why an image matches one of the index.

        Raises:
            BadImageError: if one of them cannot be read.
            ValueError: if there is no image of that name in the index.
        """
        path, model = self.photo(preset, name), self.index(preset).model
        with self._lock:
            # a compiled model tells a score only
            explain = getattr(model, "explain", None) or self._explainer(model).explain
            return explain(part_of(image, box), path)

    def _explainer(self, model: ImageEmbedder) -> Explains:
        of = model.metadata["preset"]
        if of not in self._explainers:
            self._explainers[of] = self._load_explainer(of)
        return self._explainers[of]

    def add(self, preset: str | None, files: Sequence[Path]) -> Added:
        """Add images to the indexed folder and to the index; what is no image is refused.

        An index that was loaded is saved with them, with what others have written to it meanwhile.

        Args:
            preset: the preset of the index; indexes of other presets are opened again.
            files: at most `MAX_ADDED`. They are kept under their sha256 in the subfolder `added`,
                so no name of a visitor's choosing ever names a file here.

        Raises:
            ValueError: if they are too many.
        """
        if len(files) > MAX_ADDED:
            raise ValueError(f"{len(files)} files at once are too many: {MAX_ADDED} are the most.")
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
                self._indexes = {preset: index}  # others are opened anew, with what is new
                if index.path is not None:
                    try:
                        index.save(index.path)
                    except OSError as error:  # they are found until then
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
    load_image(file)  # all of it can be read
    data = file.read_bytes()
    name = f"{ADDED}/{hashlib.sha256(data).hexdigest()[:16]}{ending_of(file)}"
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as kept:
        kept.write(data)
    return name

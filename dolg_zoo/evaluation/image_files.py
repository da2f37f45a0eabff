"""The files of a benchmark's images, all there before hours are spent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from dolg_zoo.preprocessing import list_images


def find_images(folder: str | Path, names: Sequence[str]) -> tuple[dict[str, Path], list[Path]]:
    """Find image files by name, anywhere below the folder and with any suffix.

    Returns:
        (paths, extra): where each image is, and the image files that are none of them.

    Raises:
        FileNotFoundError: if images are missing; names up to five and says how many.
        ValueError: if a name has two files, or there is no image in the folder.
        OSError: if the folder cannot be read.
    """
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
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(wanted)} images are not in {str(folder)!r}: {some(missing)}."
        )
    return paths, extra


def some(names: Iterable[object], most: int = 5) -> str:
    """Return the first few of some names, for a message."""
    texts = [str(name) for name in names]
    return ", ".join(texts[:most]) + (", …" if len(texts) > most else "")

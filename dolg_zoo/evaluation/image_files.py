"""The files of a benchmark's images, all there before hours are spent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from dolg_zoo.preprocessing import list_images


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


def some(names: Iterable[object], most: int = 5) -> str:
    """Return the first few of some names, for a message."""
    texts = [str(name) for name in names]
    return ", ".join(texts[:most]) + (", …" if len(texts) > most else "")

"""File names with wildcards and ranges."""

from __future__ import annotations

import glob
import itertools
import re
from pathlib import Path

from dolg_zoo.errors import DataError

SET_ASIDE = frozenset(
    {"@eadir", "#recycle", "#snapshot", "@tmp", "@__thumb", "@recycle", "@recently-snapshot"}  # NAS
    | {"$recycle.bin", "recycler", "system volume information"}  # Windows
    | {"__macosx", "network trash folder", "temporary items"}  # macOS, on disks of others
    | {"lost+found", "ipod photo cache", "captureone"}  # Linux, iTunes, Capture One
    | {"[originals]", ".picasaoriginals"}  # Picasa
)
"""Folders, in lower case, where systems keep thumbnails, metadata and deleted files."""

LIBRARIES = frozenset({".photoslibrary", ".migratedphotolibrary", ".aplibrary"})
"""Endings of the folders of Apple's Photos and Aperture."""

SHARD_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
MAX_SHARDS = 10**6

_RANGE = re.compile(r"\{([0-9]{1,9})\.\.([0-9]{1,9})\}")


def is_set_aside(name: str, inside: str = "") -> bool:
    """Return whether a system made a file or folder; `inside` is the ending of its folder."""
    if inside.lower() in LIBRARIES:  # a library also has thumbnails
        return name.lower() not in ("originals", "masters")
    # Lightroom keeps thumbnails in folders with this ending
    return name.startswith(".") or name.lower() in SET_ASIDE or name.lower().endswith(".lrdata")


def is_pattern(path: Path) -> bool:
    """Return whether a name has wildcards or a range, and no file has this name."""
    text = str(path)
    return bool(glob.has_magic(text) or _RANGE.search(text)) and not path.exists()


def matches(pattern: str) -> tuple[Path, list[str]]:
    """Return the folder above the first wildcard or range, and the matching files below it."""
    # files that a range names need not exist
    path = Path(pattern)
    if path.exists():  # its name may contain wildcard characters
        return path.parent, [path.name]
    plain = itertools.takewhile(
        lambda part: not glob.has_magic(part) and not _RANGE.search(part), path.parts[:-1]
    )
    base = Path(*plain)
    below = str(Path(*path.parts[len(base.parts) :]))
    files: dict[str, None] = {}
    for text in _expanded(below):
        if glob.has_magic(text):
            # unlike Path.glob, glob leaves out hidden files
            names = glob.glob(text, root_dir=base, recursive=True)  # noqa: PTH207
            given = Path(text).parts
            files.update(
                (name, None)
                for name in sorted(names)
                if not (base / name).is_dir()
                and not any(is_set_aside(p) and p not in given for p in Path(name).parts)
            )
        elif (base / text).exists() or text != below:
            files[text] = None
    if not any((base / name).exists() for name in files):
        return base, []
    return base, [Path(name).as_posix() for name in files]


def _expanded(pattern: str) -> list[str]:
    """Return the pattern for each number in its ranges: {08..10} gives 08, 09, 10."""
    texts, numbers = _RANGE.split(pattern)[::3], _RANGE.findall(pattern)
    choices = []
    for first, last in numbers:
        if int(first) > int(last) or int(last) - int(first) >= MAX_SHARDS:
            raise DataError(
                f"The range {{{first}..{last}}} must go upwards, by less than {MAX_SHARDS}."
            )
        width = len(first) if first.startswith("0") or len(first) == len(last) else 0
        choices.append([f"{number:0{width}d}" for number in range(int(first), int(last) + 1)])
    expanded = itertools.islice(itertools.product(*choices), MAX_SHARDS)
    return [
        "".join(itertools.chain(*zip(texts, [*chosen, ""], strict=True))) for chosen in expanded
    ]

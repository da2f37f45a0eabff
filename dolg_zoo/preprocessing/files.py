"""The image files of a folder."""

from __future__ import annotations

import errno
import os
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dolg_zoo._util.files import user_path
from dolg_zoo._util.outputs import is_own_picture
from dolg_zoo._util.own_folders import is_own_folder
from dolg_zoo._util.text import plain_label
from dolg_zoo.errors import DataError
from dolg_zoo.preprocessing.lists import LIST_SUFFIXES, read_list
from dolg_zoo.preprocessing.patterns import SHARD_ENDINGS, is_pattern, is_set_aside, matches

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".tif"}
    | {".tiff", ".avif", ".avifs", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".jpeg2000"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".pfm"}
    | {".heic", ".heics", ".heif", ".heifs", ".hif"}
    # unreadable photographs, so that they are reported as skipped
    | {".jxl"}
)
"""Endings, in lower case, of image files."""

_NEVER_IMAGES = frozenset(
    {".txt", ".md", ".rst", ".pdf", ".rtf", ".doc", ".docx", ".odt", ".xlsx", ".ods", ".html"}
    | {".htm"}
    | {".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".log"}
    | {".py", ".ipynb", ".sh", ".js", ".css", ".url", ".lnk", ".webloc", ".md5", ".sha1", ".sha256"}
    | {".npy", ".npz", ".parquet", ".pkl", ".h5", ".keras", ".mat", ".db", ".sqlite", ".lock"}
    # files of programs beside a photograph: settings, thumbnails, the position
    | {".xmp", ".aae", ".thm", ".lrv", ".dop", ".pp3", ".pp2", ".arp", ".cos", ".cop", ".on1"}
    | {".lrcat", ".lrprev", ".gpx", ".kml", ".srt", ".vrd", ".pto", ".nksc", ".rpp", ".spd"}
    | {".jbf", ".info", ".ffs_db", ".cpi", ".bdm", ".tdt", ".mpl"}
    # unfinished downloads, and backups of editors
    | {".part", ".partial", ".crdownload", ".download", ".tmp", ".temp", ".bak", ".swp"}
)
"""Endings, in lower case, of files that are clearly no photographs or videos."""

_BACKUP_ENDINGS = ("~", "_original")
"""Endings of the backups of editors and exiftool."""

_PICTURE = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|\0\0\0\x0cjP  \r\n\x87\n"
    rb"|\xff\x4f\xff\x51|BM....\0\0\0\0|P[1-6]\s+[0-9#]"
    rb"|....ftyp(avi[fs]|hei[cmsx]|hev[cmsx]|mif1|msf1)",
    re.DOTALL,
)
_TIFF = re.compile(rb"II\*\0|MM\0\*")
"""First bytes of the supported formats. Raw photographs begin like TIFF, so a TIFF counts only in a
file without an ending."""


@dataclass
class PassedOver:
    """The ignored files and folders of a folder.

    Attributes:
        other_files: paths of other files that could be photographs or videos.
        own_pictures: paths of pictures made by dolg-zoo, such as montages and maps.
        own_folders: paths of folders made by dolg-zoo: indexes, stores, presets, training runs.
        folders: path and error of each broken link or unreadable folder.
    """

    other_files: set[str] = field(default_factory=set)
    own_pictures: set[str] = field(default_factory=set)
    own_folders: set[str] = field(default_factory=set)
    folders: dict[str, str] = field(default_factory=dict)

    @property
    def files(self) -> Counter[str]:
        """The number of other files by ending."""
        return Counter(Path(path).suffix.lower() for path in sorted(self.other_files))

    def takes(self, path: Path) -> bool:
        """Return whether a file counts as an image; count it here if not."""
        if is_image(path):
            if not is_own_picture(path):
                return True
            self.own_pictures.add(os.path.abspath(path))  # noqa: PTH100
        elif path.suffix and not _is_never_image(path.name, path.suffix.lower()):
            self.other_files.add(os.path.abspath(path))  # noqa: PTH100
        return False

    def add(self, listed: Listing) -> None:
        """Add the ignored files and folders of another listing, with whole paths for folders."""
        other, whole = listed.passed_over, Path(os.path.abspath(listed.folder))  # noqa: PTH100
        self.other_files |= other.other_files
        self.own_pictures |= other.own_pictures
        self.own_folders |= {str(whole / name) for name in other.own_folders}
        self.folders |= {str(whole / name): why for name, why in other.folders.items()}

    def __bool__(self) -> bool:
        return any(vars(self).values())

    def __str__(self) -> str:
        """Return the summary in one line: `3 other files passed over: 2 .nef, 1 .psd`."""
        parts = []
        if count := len(self.other_files):
            most = [f"{number} {ending}" for ending, number in self.files.most_common()]
            parts.append(f"{count} other file{'s' * (count > 1)} passed over: {_first(most)}")
        if self.own_pictures:
            parts.append(f"pictures made by dolg-zoo passed over: {len(self.own_pictures)}")
        if self.own_folders:
            own = _first([*map(repr, sorted(self.own_folders))])
            parts.append(f"folders made by dolg-zoo passed over: {own}")
        if self.folders:
            first = _first([f"{name!r} ({why})" for name, why in self.folders.items()])
            parts.append(f"left out, with any image in it: {first}")
        return "; ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes for JSON."""
        return {
            "files": dict(self.files.most_common()),
            "own_pictures": len(self.own_pictures),
            "own_folders": sorted(self.own_folders),
            "folders": self.folders,
        }


class Listing(list[Path]):
    """The image files of a folder, sorted by path; `passed_over` are the ignored files."""

    def __init__(self, folder: Path, images: Sequence[Path], passed_over: PassedOver) -> None:
        super().__init__(sorted(images))
        self.folder, self.passed_over = folder, passed_over

    @property
    def names(self) -> list[str]:
        """The paths relative to the folder, with `/` between the parts."""
        return [_name(path, self.folder) for path in self]


def _first(items: Sequence[str], most: int = 6) -> str:
    return ", ".join(items[:most]) + (", …" if len(items) > most else "")


def list_images(where: str | Path | Iterable[str | Path]) -> Listing:
    """Return the image files that a path names, sorted: see `list_folder` for a folder.

    Wildcards and ranges count only if no file or folder has exactly this name.

    Args:
        where: a folder; an image; a list (`.csv` or `.parquet`, with a column `image`); a pattern
            of images with wildcards (`*`, `?`, `[…]`, `**` for folders at any depth); or several
            paths of images.

    Returns:
        A list. The names are relative to its attribute `folder`; `passed_over` has the ignored
        files and unreadable folders.

    Raises:
        FileNotFoundError: there is no such folder or file.
        ValueError: there is no image. Its subclass DataError: it is another file, or a faulty list.
        PermissionError: it may not be read.
    """
    if not isinstance(where, str | os.PathLike):
        return _list_each(where)
    path = user_path(where)
    if path.is_dir():
        return list_folder(path)
    if path.suffix.lower() in LIST_SUFFIXES and path.exists():
        folder, _, names = read_list(path)
        return Listing(folder, [folder / name for name in names], PassedOver())
    base, found = matches(str(path))
    if not found:
        raise FileNotFoundError(f"there is no folder or file {str(where)!r} to take images from")
    if found[0].lower().endswith(SHARD_ENDINGS):
        raise DataError(
            f"The images in a tar file such as {found[0]!r} are not separate files; make an index:"
            f" `dolg embed {shlex.quote(str(where))} -o STORE`, then `dolg index STORE -o INDEX`."
        )
    return _list_matches(str(where), base, found)


def _list_each(paths: Iterable[str | Path]) -> Listing:
    """Return the images of several paths, named relative to their common folder."""
    passed_over, images = PassedOver(), set[Path]()
    for path in paths:
        listed = each_of(path)
        passed_over.add(listed)
        images |= {Path(os.path.abspath(image)) for image in listed}  # noqa: PTH100
    if not images:
        raise ValueError("there is no image among 0 paths")
    above = Path(os.path.commonpath([image.parent for image in images]))
    return Listing(above, [*images], passed_over)


def _list_matches(pattern: str, base: Path, found: Sequence[str]) -> Listing:
    """Return the images among the matches of a pattern, except in folders made by dolg-zoo."""
    folders = {each for name in {*map(os.path.dirname, found)} for each in Path(name, "a").parents}
    own = {each for each in folders - {Path()} if is_own_folder(base / each)}
    outermost = {each.as_posix() for each in own if own.isdisjoint(each.parents)}
    passed_over = PassedOver(own_folders=outermost)
    # a single image counts even if dolg-zoo made it
    takes = is_image if len(found) == 1 else passed_over.takes
    images = [
        base / name
        for name in found
        if own.isdisjoint(Path(name).parents if own else ()) and takes(base / name)
    ]
    if not images:
        raise DataError(
            f"{pattern!r} names neither images, a folder, lists (.csv, .parquet) nor tar files;"
            f" the first of {len(found)} is {found[0]!r}."
        )
    return Listing(base, images, passed_over)


def names_several(where: str | Path) -> bool:
    """Return whether a path names images for `list_images`, not a single image."""
    with suppress(OSError, ValueError):  # such as a name that is too long: `load_image` reports it
        path = user_path(where)
        endings = (*LIST_SUFFIXES, *SHARD_ENDINGS)
        return path.is_dir() or path.name.lower().endswith(endings) or is_pattern(path)
    return False


def each_of(where: str | Path) -> Listing:
    """Return the images that a path names, or the path itself if it names none."""
    if names_several(where):
        with suppress(OSError, ValueError):
            return list_images(where)
    path = user_path(where)
    return Listing(path.parent, [path], PassedOver())


def list_folder(folder: Path) -> Listing:
    """Return the image files of a folder and its subfolders, sorted by path; ValueError if none."""
    # An image has one of `IMAGE_SUFFIXES` (even a broken link, which `load_image` reports) or an
    # image's first bytes. Ignored: hidden files and folders, those in `SET_ASIDE` (thumbnails,
    # metadata, rubbish bins), and outputs of dolg-zoo. Links are followed, but each folder is
    # listed once, if possible under its own name, so circles of links end.
    images: list[Path] = []
    passed_over = PassedOver()
    folders, links = [folder], list[Path]()
    seen: set[tuple[int, int]] = set()
    while folders or links:
        here = (folders or links).pop()  # links last: a folder's own name is better
        try:
            status = here.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(here) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            if here is folder:
                raise
            passed_over.folders[_name(here, folder)] = error.strerror or str(error)
            continue
        if here is not folder and is_own_folder(here, [entry.name for entry in entries]):
            passed_over.own_folders.add(_name(here, folder))
            continue
        for entry in entries:
            if is_set_aside(entry.name, here.suffix):
                continue
            path = here / entry.name
            ending = path.suffix.lower()
            try:
                if entry.is_dir():
                    (links if entry.is_symlink() else folders).append(path)
                elif entry.is_file() or ending in IMAGE_SUFFIXES:
                    if passed_over.takes(path):
                        images.append(path)
                elif not path.exists():
                    raise FileNotFoundError(errno.ENOENT, "the link leads nowhere")
            except OSError as error:  # the link is broken, so only its name can tell the kind
                if ending in IMAGE_SUFFIXES:
                    images.append(path)
                else:
                    passed_over.folders[_name(path, folder)] = error.strerror or str(error)
    if not images:
        endings = " ".join(sorted(IMAGE_SUFFIXES))
        others = f" ({passed_over})" if passed_over else ""
        raise ValueError(
            f"no image in {str(folder)!r}{others}: no visible file there ends in {endings}"
        )
    return Listing(folder, images, passed_over)


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _is_never_image(name: str, ending: str) -> bool:
    return ending in _NEVER_IMAGES or name.lower().endswith(_BACKUP_ENDINGS)


def is_image(path: Path) -> bool:
    """Return whether a file counts as an image, by its ending or, if unknown, its content."""
    ending = path.suffix.lower()
    if ending in IMAGE_SUFFIXES:
        return True
    if _is_never_image(path.name, ending):
        return False
    try:
        if not path.is_file():  # a pipe would hang
            return False
        with path.open("rb") as file:
            beginning = file.read(16)
    except OSError:
        return False
    return bool(_PICTURE.match(beginning) or (not ending and _TIFF.match(beginning)))


def class_of(name: str) -> str:
    """Return the class of an image by its path below a folder: the subfolder of the first level."""
    return plain_label(name.partition("/")[0])


def check_classes(folder: Path, names: Sequence[str], command: str) -> None:
    """Raise ValueError if subfolders are no classes; show `command` on the folder that is meant."""
    # They are not classes if all are parts of a data set (train, val), or if all hold only folders
    # and one of them several.
    if not (folders := unclear_classes(names)):
        return
    parts = {name: below for name, below in folders.items() if _PART.fullmatch(name)}
    are_parts = len(parts) > 1 or len(parts) == len(folders)
    folders = parts if are_parts else folders
    # the folder to suggest: the part for this command, or a subfolder with several folders
    fitting = [first for first in folders if ("train" in first.lower()) == ("train" in command)]
    first = max(fitting or folders, key=lambda first: len(folders[first]))
    meant = f"`{command} {shlex.quote(str(folder / first))}`"
    inside = sorted(folders[first] - {""})
    if are_parts:
        raise ValueError(
            f"{str(folder)!r} holds parts of a data set ({', '.join(map(repr, parts))}), not"
            f" classes. {meant} takes the subfolders of one part as classes."
        )
    raise ValueError(
        f"The subfolders of {str(folder)!r} hold only folders, such as {f'{first}/{inside[0]}'!r}:"
        f" is {first!r} a class, or {inside[0]!r}? If {inside[0]!r} is: {meant}. If {first!r} is:"
        " put images directly into it."
    )


def folder_labels(names: Sequence[str]) -> list[str] | None:
    """Return each image's class; None unless all images have one and there are at least two."""
    # In parts of a data set, the class is the folder inside the part. Also None if `check_classes`
    # fails.
    if (folders := unclear_classes(names)) and all(map(_PART.fullmatch, folders)):
        names = [name.partition("/")[2] for name in names]
    if not all("/" in name for name in names) or unclear_classes(names):
        return None
    labels = [class_of(name) for name in names]
    return labels if len(set(labels)) > 1 else None


_PART = re.compile(
    r"(train|training|trainval|val|valid|validation|test|testing|dev|eval|evaluation|holdout"
    r"|query|queries|gallery|fold|split)([ _-]?(set|data|images?|[0-9]+))?",
    re.IGNORECASE,
)
"""Usual names of the folders for the parts of a data set (ImageFolder, Keras and others)."""


def unclear_classes(names: Sequence[str]) -> dict[str, set[str]]:
    """Return each subfolder and its subfolders if they are not, or may not be, classes."""
    folders: dict[str, set[str]] = {}
    for first, _, rest in (name.partition("/") for name in sorted(names)):
        if rest:
            folders.setdefault(first, set()).add(rest.rpartition("/")[0].partition("/")[0])
    parts = [name for name in folders if _PART.fullmatch(name) and folders[name] != {""}]
    is_clear = any("" in below for below in folders.values()) or all(
        len(below) == 1 for below in folders.values()
    )
    return folders if len(parts) > 1 or not is_clear or all(map(_PART.fullmatch, folders)) else {}

"""Labelled images from CSV files; no line of them is trusted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dolg_zoo._util.csv_lists import checked, image_path, rows, stays_inside
from dolg_zoo._util.files import user_path
from dolg_zoo._util.text import plain_label
from dolg_zoo.errors import DataError
from dolg_zoo.evaluation.gldv2.lists import read_landmarks
from dolg_zoo.training.data.examples import Examples


def from_csv(
    path: str | Path,
    images: str | Path | None = None,
    columns: Sequence[str] = ("image", "label"),
    anywhere: bool = False,
) -> Examples:
    """Return the images that a CSV file with a header lists: UTF-8, with commas.

    Args:
        path: the CSV file.
        images: the folder that its paths are relative to; None for the file's own. Only a sample
            of up to 1000 images is checked to exist.
        columns: names of the two columns with the path and the label of an image. A label is any
            text, compared after `plain_label`; the classes are in the order of their names.
            Other columns are ignored.
        anywhere: whether images may be outside of that folder, by absolute paths, `..` or links,
            as in DVC and git-annex.

    Raises:
        DataError: if the file has a fault, and the message names the line; or if no image of the
            sample exists.
        OSError: if the file cannot be read.
    """
    folder = user_path(path).parent if images is None else user_path(images)
    is_inside = stays_inside(folder)
    first_line: dict[str, int] = {}
    labels: list[str] = []
    hint = "name the columns of path and label with columns = [..., ...], and "
    for line, row in rows(path, columns, hint=hint):
        where = f"{path}, line {line}"
        image, label = (row[column] for column in columns)
        image = image_path(image, folder, where)
        if not anywhere and not is_inside(Path(image)):
            raise DataError(
                f"{where}: {image!r} leads out of the folder {str(folder)!r}. If you trust the"
                " list, allow it with --anywhere, or anywhere = true in [data]; or name the"
                " folder that its paths are relative to with images = …."
            )
        if first_line.setdefault(image, line) != line:
            raise DataError(
                f"{where}: {image!r} is in line {first_line[image]} already; remove one."
            )
        labels.append(checked(plain_label(label), columns[1], where))
    if not labels:
        raise DataError(f"{path} lists no images below its header.")
    names, numbers = np.unique(np.array(labels, object), return_inverse=True)
    sources = _Files(folder, list(first_line))
    _look_for_some(sources, folder)
    return Examples(sources, numbers, tuple(names))


def from_gldv2(path: str | Path, images: str | Path) -> Examples:
    """Return the images of Google Landmarks v2 (Weyand et al., 2020, arXiv 2004.01804).

    Args:
        path: its train.csv (id, url, landmark_id) or train_clean.csv (landmark_id, images).
        images: the folder with the tree of images; the image with id 0123456789abcdef is
            0/1/2/0123456789abcdef.jpg in it. Only a sample of up to 1000 is checked to exist.

    Returns:
        All images that the file lists; the landmarks are the classes, in the order of their
        numbers.

    Raises:
        DataError: if the file has a fault, and the message names the line; or if no image of the
            sample exists.
        OSError: if the file cannot be read.
    """
    numbers, landmarks = read_landmarks(path, "For a CSV file of your own use csv = …")
    names, classes = np.unique(landmarks, return_inverse=True)
    sources = _Tree(user_path(images), numbers)
    _look_for_some(sources, images)
    return Examples(sources, classes, tuple(map(str, names)))


class _Files(Sequence[Any]):
    # names, since a Path takes five times the memory
    def __init__(self, folder: Path, names: list[str]) -> None:
        self._folder = folder
        self._names = names

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: Any) -> Any:  # the path of an image
        return self._folder / self._names[index]


class _Tree(Sequence[Any]):
    def __init__(self, folder: Path, ids: np.ndarray) -> None:
        self._folder = folder
        self._ids = ids

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: Any) -> Any:  # the path of an image
        name = f"{self._ids[index]:016x}"
        return self._folder.joinpath(*name[:3], f"{name}.jpg")


def _look_for_some(sources: Sequence[Path], folder: str | Path) -> None:
    # checking millions of files takes minutes, and hours over a network
    sample = np.unique(np.linspace(0, len(sources) - 1, 1000).astype(int))
    if not any(sources[number].exists() for number in sample):
        raise DataError(
            f"None of {len(sample)} images of the list is in {str(folder)!r}: there is no"
            f" {str(sources[0])!r}, for one. Name the folder that the list's paths are relative to."
        )

"""Labelled images from the source that a training configuration names."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dolg_zoo._util.files import user_path
from dolg_zoo.errors import DataError
from dolg_zoo.preprocessing import list_images
from dolg_zoo.preprocessing.files import check_classes, class_of
from dolg_zoo.training.data.examples import Examples
from dolg_zoo.training.data.tables import from_csv, from_gldv2
from dolg_zoo.training.data.tfds import from_tfds

_log = logging.getLogger(__name__)


def from_folder(folder: str | Path) -> Examples:
    """Return the images in the subfolders of a folder, each subfolder a class.

    An image in a deeper folder belongs to the subfolder of the first level. Images outside the
    subfolders have no class; they are left out, with a warning in the log of this module.
    `dolg_zoo.preprocessing.list_images` defines which files are images.

    Raises:
        DataError: if no subfolder has an image, or the subfolders are not classes but parts of a
            data set, or hold only folders; the message shows the right command.
        OSError: if the folder does not exist or cannot be read.
    """
    try:
        paths = list_images(folder)
        check_classes(paths.folder, paths.names, "dolg train --data")
    except ValueError as error:
        raise DataError(str(error)) from error
    inside = [
        (path, class_of(name)) for path, name in zip(paths, paths.names, strict=True) if "/" in name
    ]
    if not inside:
        raise DataError(
            f"The {len(paths)} images in {str(folder)!r} are in no subfolder; training needs a"
            " subfolder for each class."
        )
    if len(inside) < len(paths):
        _log.warning(
            "left out: %d images in %r that are in no subfolder",
            len(paths) - len(inside),
            str(folder),
        )
    sources, classes = zip(*inside, strict=True)
    names, labels = np.unique(classes, return_inverse=True)
    return Examples(sources, labels, tuple(map(str, names)))


_SOURCES: dict[str, tuple[Callable[..., Examples], tuple[str, ...], tuple[str, ...]]] = {
    # the reading function, its optional keys, and the keys that are paths
    "folder": (from_folder, (), ("folder",)),
    "csv": (from_csv, ("images", "columns", "anywhere"), ("csv", "images")),
    "gldv2": (from_gldv2, ("images",), ("gldv2", "images")),
    "tfds": (from_tfds, ("split", "data_dir"), ("data_dir",)),
}


def load_examples(data: Mapping[str, Any], relative_to: str | Path = ".") -> Examples:
    """Return the images that the table [data] of a training configuration describes.

    Args:
        data: one of these, with optional keys in brackets:
            {"folder": a folder with one subfolder per class},
            {"csv": a file, ["images": the folder of its paths, "columns": of path and label,
            "anywhere": whether images may be outside of that folder]},
            {"gldv2": train.csv or train_clean.csv, "images": the folder of the tree},
            {"tfds": a name of TensorFlow Datasets, ["split": such as "train", "data_dir": where
            the data sets are kept]}.
        relative_to: the folder that relative paths in the table are relative to.

    Raises:
        DataError: if the table or its source is faulty, or there are fewer than two classes.
        OSError: if a file or folder cannot be read.
    """
    relative_to = user_path(relative_to)
    named = [name for name in _SOURCES if name in data]
    if len(named) != 1:
        raise DataError(
            f"[data] must name one source, {', '.join(_SOURCES)}; it names"
            f" {' and '.join(named) or 'none'}."
        )
    (source,) = named
    read, further, paths = _SOURCES[source]
    settings = dict(data)
    for key, value in data.items():
        if key not in (source, *further):
            raise DataError(
                f"[data] has an unknown key {key!r}; the keys beside {source} are"
                f" {', '.join(further) or 'none'}."
            )
        if key == "anywhere":
            if not isinstance(value, bool):
                raise DataError(f"[data] anywhere must be true or false, not {value!r}.")
        elif key == "columns":
            if not (
                isinstance(value, list | tuple)
                and len(value) == 2
                and all(isinstance(column, str) for column in value)
            ):
                raise DataError(
                    "[data] columns must be two names, of the columns of path and label, not"
                    f" {value!r}."
                )
        elif not isinstance(value, str) or not value or "\0" in value:
            raise DataError(f"[data] {key} must be a text, and not empty, got {value!r}.")
        elif key in paths:
            settings[key] = relative_to / user_path(value)
    if source == "gldv2" and "images" not in data:
        raise DataError("[data] gldv2 also needs images, the folder with the tree of images.")
    examples = read(settings.pop(source), **settings)
    if np.count_nonzero(examples.counts) < 2:
        raise DataError(
            f"All {len(examples)} images are of one class; training needs two classes or more."
        )
    return examples

"""Labelled images from TensorFlow Datasets."""

from __future__ import annotations

import difflib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from dolg_zoo.errors import DataError, ExtraMissingError
from dolg_zoo.training.data.examples import Examples

MAX_BYTES = 2**34
"""Maximum size of a data set in memory, as encoded images."""


def from_tfds(name: str, split: str = "train", data_dir: str | Path | None = None) -> Examples:
    """Return the images of a data set for classification from TensorFlow Datasets.

    A missing data set is downloaded and prepared first. The images stay in memory, still encoded.

    Args:
        name: name, name/config or name:version of a data set of the library. Community data sets
            (namespace:name) are refused: they contain code.
        split: a split of `tfds.load`, such as "train", "train+validation" or "train[:80%]".
        data_dir: the folder of data sets; None for the library's default.

    Raises:
        DataError: if there is no such data set or split, if it has no labelled 8-bit images, or if
            it takes more than `MAX_BYTES`.
        ExtraMissingError: if tensorflow-datasets is not installed.
    """
    try:
        import tensorflow_datasets as tfds

        builder = _builder(tfds, name, data_dir)
        image, label = _keys(tfds, name, builder.info)
        builder.download_and_prepare()
    except ImportError as error:  # the library imports some of its dependencies at first use
        raise ExtraMissingError(
            f"The data set {name!r} needs tensorflow-datasets: pip install 'dolg-zoo[recipes]'."
        ) from error
    decoders = tfds.decode.PartialDecoding(
        {image: True, label: True}, decoders={image: tfds.decode.SkipDecoding()}
    )
    try:
        dataset = builder.as_dataset(split=split, decoders=decoders)
    except ValueError as error:
        raise DataError(f"The split {split!r} of {name!r} cannot be read: {error}") from error
    images, labels, size = [], [], 0
    for example in tfds.as_numpy(dataset):
        images.append(example[image])
        labels.append(example[label])
        size += len(images[-1])
        if size > MAX_BYTES:
            raise DataError(
                f"The split {split!r} of {name!r} takes more than {MAX_BYTES} bytes of memory; take"
                f' a part of it, such as "{split}[:10%]", or give the images as a folder.'
            )
    return Examples(images, np.array(labels), tuple(builder.info.features[label].names))


def _builder(tfds: ModuleType, name: str, data_dir: str | Path | None) -> Any:
    known = tfds.list_builders(with_community_datasets=False)
    base = name.split("/")[0].split(":")[0]
    if base not in known:
        similar = difflib.get_close_matches(base, known)
        raise DataError(
            f"tensorflow-datasets {tfds.__version__} comes with no data set {name!r}; similar are"
            f" {', '.join(similar) or 'none'}."
        )
    try:
        return tfds.builder(name, data_dir=data_dir)
    except (ValueError, AssertionError) as error:  # an unknown configuration, or version
        raise DataError(f"There is no data set {name!r}: {error}") from error


def _keys(tfds: ModuleType, name: str, info: Any) -> tuple[str, str]:
    keys = info.supervised_keys
    if isinstance(keys, tuple) and len(keys) == 2 and all(isinstance(key, str) for key in keys):
        image, label = (info.features[key] for key in keys)
        is_image = isinstance(image, tfds.features.Image) and image.np_dtype == np.uint8
        if is_image and isinstance(label, tfds.features.ClassLabel):
            return keys
    raise DataError(
        f"The data set {name!r} must have 8-bit images with a class each; its supervised keys"
        f" are {keys}, of {info.features}."
    )

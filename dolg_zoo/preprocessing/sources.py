"""Turn the caller's images, in any form, into a sequence, for all entry points."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from dolg_zoo._util.text import short_repr
from dolg_zoo.preprocessing.decode import ImageSource, is_image_source, name_of
from dolg_zoo.preprocessing.files import PassedOver, each_of, list_images, names_several

_log = logging.getLogger(__name__)


def image_sources(images: ImageSource | Iterable[ImageSource]) -> Sequence[ImageSource]:
    """Return the images one by one, in any form that `ImageEmbedder.embed` takes."""
    if isinstance(images, str | Path) and names_several(images):
        listed = list_images(images)
        _warn(repr(str(images)), listed.passed_over)
        return listed
    if isinstance(images, np.ndarray) and images.dtype.kind in "OU":
        images = images.tolist()  # an array of paths
    if isinstance(images, np.ndarray) and images.ndim > 3:
        return cast("Sequence[ImageSource]", images)
    if is_image_source(images):
        name_of(images)  # raise TypeError for a file that is opened as text
        return [cast("ImageSource", images)]
    accepted = (
        "a path, a PIL image, an array, the bytes of a file, a file opened in binary mode, a Crop,"
        " or any number of these"
    )
    if isinstance(images, Mapping) or not isinstance(images, Iterable):
        raise TypeError(f"images must be {accepted}, not {type(images).__name__}.")
    if hasattr(images, "element_spec"):  # a tf.data.Dataset
        return _of_dataset(images)
    sources: list[ImageSource] = []
    passed_over = PassedOver()
    for each in images:
        if isinstance(each, str | Path):
            sources += (listed := each_of(each))
            passed_over.add(listed)
        else:
            sources.append(cast("ImageSource", each))
    _warn(f"{len(sources)} images", passed_over)
    for index, source in enumerate(sources):
        if not is_image_source(source):
            raise TypeError(f"images must be {accepted}; number {index} is {short_repr(source)}.")
        try:
            name_of(source)
        except TypeError as error:
            raise TypeError(f"number {index} of the images: {error}.") from None
    return sources


def _warn(what: str, passed_over: PassedOver) -> None:
    if passed_over:
        _log.warning("%s: %s", what, passed_over)


def _of_dataset(dataset: Any) -> list[ImageSource]:
    """Return the images of a data set, batched or not, without labels."""
    sources: list[ImageSource] = []
    for element in dataset:
        image = np.asarray(element[0] if isinstance(element, tuple) else element)
        sources += [*image] if image.ndim > 3 else [image]
    return sources

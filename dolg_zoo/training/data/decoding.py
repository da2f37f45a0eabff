"""From labelled images to batches of arrays, decoded in advance in threads."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from PIL import Image

from dolg_zoo.errors import BadImageError, DataError
from dolg_zoo.preprocessing import ImageConverter, decode_ahead, load_image
from dolg_zoo.training.data.examples import Examples
from dolg_zoo.training.data.order import batch_indices, steps_per_epoch

MAX_BAD_IN_A_ROW = 50
"""After this many unreadable images in a row, the data are taken to be wrong."""

CROP_TRIES = 10


class Batches:
    """The batches from one step of a run to another; equal arguments give equal batches.

    Each image's crop depends only on the seed, the epoch and its position in the epoch, so a run
    can continue from any step, with any number of threads or workers. An image that cannot be read
    is replaced by the next readable image in the order of the epoch.

    ```python
    for images, labels in Batches(examples, 224, batch_size=32, seed=0, last_step=1000):
        ...
    ```

    Args:
        examples: the images.
        size: side of the batch's images in pixels.
        batch_size: number of images per step, for all workers together.
        seed: the seed of the run, at least 0.
        first_step: the first step, from 0, counted over all epochs.
        last_step: the step to stop before.
        area: the smallest and largest share of an image that `random_resized_crop` takes; None
            for the whole image, squashed.
        interpolation: "bilinear" or "bicubic".
        balanced: whether to draw all classes equally often.
        images_per_class: number of images of each class in a batch, if balanced.
        rank: rank of this worker, from 0. The batches of all workers, concatenated, equal the
            batch of a single worker.
        workers: the number of workers.
        threads: the number of threads that decode; None for one per core, up to 8.

    Attributes:
        skipped: name of each image that was left out so far, and the reason.

    Yields:
        (images, labels): uint8 (batch_size / workers, size, size, 3) and int32
        (batch_size / workers,).

    Raises:
        ValueError: if the workers cannot share a batch evenly.
        DataError: while iterating, if `MAX_BAD_IN_A_ROW` images in a row cannot be read.
    """

    def __init__(
        self,
        examples: Examples,
        size: int,
        batch_size: int,
        seed: int,
        *,
        last_step: int,
        first_step: int = 0,
        area: tuple[float, float] | None = (0.08, 1.0),
        interpolation: str = "bilinear",
        balanced: bool = False,
        images_per_class: int = 1,
        rank: int = 0,
        workers: int = 1,
        threads: int | None = None,
    ) -> None:
        if batch_size % workers:
            raise ValueError(
                f"batch_size must be a multiple of the {workers} workers, got {batch_size}."
            )
        self.skipped: dict[str, str] = {}
        self._examples = examples
        self._size = size
        self._batch_size = batch_size
        self._seed = seed
        self._steps = range(first_step, last_step)
        self._area = area
        self._interpolation = interpolation
        self._convert = ImageConverter(size, interpolation=interpolation)
        self._balanced = balanced
        self._images_per_class = images_per_class
        self._local = slice(rank * batch_size // workers, (rank + 1) * batch_size // workers)
        self._threads = threads

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the batches, from the first step on."""
        local_batch = self._local.stop - self._local.start
        images, labels = [], []
        decoded = decode_ahead(
            self._positions(), self._decode, workers=self._threads, ahead=2 * local_batch
        )
        for _, _, result in decoded:
            assert not isinstance(result, BadImageError)  # `_decode` has replaced the image
            image, label, errors = result
            self.skipped.update(errors)
            images.append(image)
            labels.append(label)
            if len(images) == local_batch:
                yield np.stack(images), np.array(labels, np.int32)
                images, labels = [], []

    def _positions(self) -> Iterator[tuple[np.ndarray, int, int]]:
        """Yield (order of the epoch, epoch, position in it) of each image of this worker."""
        steps = steps_per_epoch(len(self._examples), self._batch_size)
        order = None
        for step in self._steps:
            epoch, step = divmod(step, steps)
            if order is None or step == 0:
                order = batch_indices(
                    self._examples.labels,
                    self._batch_size,
                    self._seed,
                    epoch,
                    self._balanced,
                    self._images_per_class,
                ).ravel()
            batch = range(step * self._batch_size, (step + 1) * self._batch_size)
            for position in batch[self._local]:
                yield order, epoch, position

    def _decode(self, where: tuple[np.ndarray, int, int]) -> tuple[np.ndarray, int, dict[str, str]]:
        order, epoch, position = where
        errors: dict[str, str] = {}
        for offset in range(MAX_BAD_IN_A_ROW):
            index = order[(position + offset) % len(order)]
            try:
                image = load_image(self._examples.sources[index])
            except BadImageError as error:
                name = self._examples.name(index)
                errors[name] = error.reason
                continue
            # NumPy treats the seed [seed, epoch] of the order as [seed, epoch, 0]
            rng = np.random.default_rng([self._seed, epoch, position + 1])
            return self._alter(image, rng), self._examples.labels[index], errors
        raise DataError(
            f"{MAX_BAD_IN_A_ROW} images in a row cannot be read, such as {name!r}: {errors[name]}."
            " Check that the images are where [data] names them."
        )

    def _alter(self, image: Image.Image, rng: np.random.Generator) -> np.ndarray:
        if self._area is None:
            return self._convert(image)
        return random_resized_crop(
            image, self._size, rng, self._area, interpolation=self._interpolation
        )


def random_resized_crop(
    image: Image.Image,
    size: int,
    rng: np.random.Generator,
    area: tuple[float, float] = (0.08, 1.0),
    aspect: tuple[float, float] = (3 / 4, 4 / 3),
    interpolation: str = "bilinear",
) -> np.ndarray:
    """Crop a random part of an image, and resize it with antialiasing.

    Source: Szegedy et al., "Going Deeper with Convolutions" (2014, arXiv 1409.4842).

    Args:
        image: an image in mode RGB.
        size: side of the result in pixels.
        rng: the random generator.
        area: the smallest and the largest share of the image's pixels.
        aspect: the smallest and the largest ratio of the part's width to its height. If no such
            part fits, the largest possible part in the middle is taken.
        interpolation: "bilinear" or "bicubic".

    Returns:
        (size, size, 3), uint8.
    """
    box = _random_box(*image.size, rng, area, aspect)
    resampling = Image.Resampling[interpolation.upper()]
    return np.array(image.resize((size, size), resampling, box))


def _random_box(
    width: int,
    height: int,
    rng: np.random.Generator,
    area: tuple[float, float],
    aspect: tuple[float, float],
) -> tuple[float, float, float, float]:
    for _ in range(CROP_TRIES):
        pixels = width * height * rng.uniform(*area)
        ratio = math.exp(rng.uniform(*np.log(aspect)))
        wide, high = math.sqrt(pixels * ratio), math.sqrt(pixels / ratio)
        if wide <= width and high <= height:
            left, top = rng.uniform(0, width - wide), rng.uniform(0, height - high)
            # rounding may put a sum beyond the edge, which Pillow refuses
            return left, top, min(left + wide, width), min(top + high, height)
    wide, high = min(width, height * aspect[1]), min(height, width / aspect[0])
    left, top = (width - wide) / 2, (height - high) / 2
    return left, top, min(left + wide, width), min(top + high, height)

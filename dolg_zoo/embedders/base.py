"""Images of any kind and number in, descriptors out, whatever computes them; needs no Keras."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from dolg_zoo._util.progress import track
from dolg_zoo.errors import BadImageError, BadImagesError
from dolg_zoo.preprocessing import (
    Crop,
    ImageSource,
    batch_by_shape,
    decode_ahead,
    list_images,
    load_image,
)
from dolg_zoo.preprocessing.decode import name_of

if TYPE_CHECKING:
    from dolg_zoo.preprocessing import ImageConverter

BATCH_PIXELS = 16 * 512 * 512
"""The most pixels that go through the network at once, unless one image alone has more: in
activations that is one to a few GiB, depending on the backbone."""

MAX_IMAGE_PIXELS = 4096 * 4096
"""The most pixels that one image may enter the network with, over all its scales, whatever a
preset's converter says."""


class ImageEmbedder:
    """What turns images into descriptors: a `DOLG`, or what one was compiled to.

    Attributes:
        image_converter: how an image becomes the input of the network.
        descriptor_dim: the length of a descriptor.
        metadata: what is known of the weights.
        model_id: 32 hexadecimal digits, the same where descriptors are the same but for rounding.
    """

    if TYPE_CHECKING:  # a property here would keep subclasses from setting an attribute
        image_converter: ImageConverter

        @property
        def descriptor_dim(self) -> int:
            """The dimension of a descriptor."""

        @property
        def metadata(self) -> dict[str, Any]:
            """What is known of the weights: name, license, provenance and the like."""

        @property
        def model_id(self) -> str:
            """32 hexadecimal digits; equal models have the same."""

    # A plain class: Keras changes the bases of a model's classes, which an ABC does not bear.

    def infer(self, images: np.ndarray) -> np.ndarray:
        """(batch, height, width, 3) uint8 to (batch, dim) float32, each row of length 1."""
        raise NotImplementedError

    def routed(
        self,
        runtime: str | None = None,
        precision: str | None = None,
        calibration: Sequence[ImageSource | bytes] | None = None,
    ) -> ImageEmbedder:
        """What embeds by this route; for one who embeds often, to choose it but once.

        Args:
            runtime: as for `embed`.
            precision: as for `embed`.
            calibration: images to calibrate "int8" with, if it was not yet.
        """
        raise NotImplementedError

    def embed(
        self,
        images: ImageSource | Iterable[ImageSource],
        *,
        batch_size: int = 16,
        scales: Sequence[float] | None = None,
        progress: bool = True,
        runtime: str | None = None,
        precision: str | None = None,
    ) -> np.ndarray:
        """The descriptors of images of any kind and size.

        Args:
            images: a folder (its images in sorted order); a path; a PIL image; an array
                (height, width, 3) or (batch, height, width, 3), uint8 or float in [0, 255]; a
                `Crop` of one of these; or any number of these but folders.
            batch_size: images that go through the network at once; only images of one size do.
            scales: the descriptor is the normalised mean of the normalised descriptors of the
                image at each of these multiples of its size. None: those of the preset, which
                `image_converter.scales` lists.
            progress: whether to draw a progress bar on a terminal if it takes long.
            runtime: what computes: "keras", "openvino", "onnx" or "litert"; None for the first
                that can be used here: see `dolg info --runtimes`.
            precision: "float32", "bfloat16" or "int8"; the latter two change descriptors. None for
                "float32", or what the model is compiled for.

        Returns:
            (images, dim), float32, each row of length 1.

        Raises:
            TypeError: at once, if something is none of these, naming its place.
            ValueError: if `batch_size` or `scales` is out of its range.
            RuntimeMissingError: if that runtime, or the precision in it, cannot be had here.
            BadImagesError: at the end, if some images could not be read; it carries the
                descriptors of all others.
        """
        sources = _sources(images)
        descriptors = np.zeros((len(sources), self.descriptor_dim), np.float32)
        skipped: dict[int, BadImageError] = {}
        found = self.embed_each(
            sources, batch_size=batch_size, scales=scales, runtime=runtime, precision=precision
        )
        if progress:
            found = track(found, len(sources), "Embedding")
        for index, result in found:
            if isinstance(result, BadImageError):
                skipped[index] = result
            else:
                descriptors[index] = result
        if skipped:
            kept = [index for index in range(len(sources)) if index not in skipped]
            raise BadImagesError(dict(sorted(skipped.items())), kept, descriptors[kept])
        return descriptors

    def embed_each(
        self,
        images: Iterable[ImageSource | bytes],
        *,
        batch_size: int = 16,
        scales: Sequence[float] | None = None,
        runtime: str | None = None,
        precision: str | None = None,
    ) -> Iterator[tuple[int, np.ndarray | BadImageError]]:
        """Embeds a stream of images, however long, in memory that does not grow with it.

        Args:
            images: paths, PIL images, arrays (height, width, 3) or crops, as for `embed`.
            batch_size: images that go through the network at once.
            scales: as for `embed`.
            runtime: as for `embed`.
            precision: as for `embed`.

        Yields:
            (index, descriptor) or (index, error), one for each image, as they are done, which is
            not quite their order: images of one size wait for each other.
        """
        scales = _checked_scales(self.image_converter.scales if scales is None else scales)
        if type(batch_size) is not int or batch_size < 1:
            raise ValueError(f"batch_size must be a whole number from 1 on, got {batch_size!r}.")
        sample = images if isinstance(images, Sequence) else None
        infer = self.routed(runtime, precision, sample).infer

        def work(source: ImageSource | bytes) -> list[np.ndarray]:
            image = load_image(source)
            sizes = (self.image_converter.target_size(*image.size, scale) for scale in scales)
            pixels = sum(width * height for width, height in sizes)
            if pixels > MAX_IMAGE_PIXELS:
                raise BadImageError(
                    name_of(source),
                    f"it would enter the network with {pixels} pixels, and {MAX_IMAGE_PIXELS} are"
                    " the most; choose smaller scales, fewer of them or another image converter",
                )
            return [self.image_converter(image, scale) for scale in scales]

        errors: list[tuple[int, BadImageError]] = []

        def arrays() -> Iterator[tuple[int, np.ndarray]]:
            for index, _, result in decode_ahead(images, work, ahead=2 * batch_size):
                if isinstance(result, BadImageError):
                    errors.append((index, result))
                else:
                    yield from ((index, array) for array in result)

        sums: dict[int, np.ndarray] = {}
        missing: dict[int, int] = {}
        batches = batch_by_shape(arrays(), batch_size, 4 * batch_size, BATCH_PIXELS)
        for indices, batch in batches:
            for index, descriptor in zip(indices, infer(batch), strict=True):
                sums[index] = sums.get(index, 0) + descriptor
                missing[index] = missing.get(index, len(scales)) - 1
                if not missing[index]:
                    del missing[index]
                    mean = sums.pop(index)
                    yield index, mean / max(np.linalg.norm(mean), 1e-12)
            yield from _drain(errors)
        yield from _drain(errors)

    def similarity(
        self,
        images: ImageSource | Iterable[ImageSource],
        others: ImageSource | Iterable[ImageSource] | None = None,
        *,
        scales: Sequence[float] | None = None,
    ) -> np.ndarray:
        """How alike images are: the cosine of their descriptors, from -1 to 1.

        Args:
            images: as for `embed`.
            others: as for `embed`; None to compare the images with each other.
            scales: as for `embed`.

        Returns:
            (images, others), float32.
        """
        descriptors = self.embed(images, scales=scales)
        return (
            descriptors @ (descriptors if others is None else self.embed(others, scales=scales)).T
        )


def _sources(images: ImageSource | Iterable[ImageSource]) -> Sequence[ImageSource]:
    if isinstance(images, (str, Path)):
        return list_images(images) if Path(images).is_dir() else [images]
    if isinstance(images, (Image.Image, Crop)) or (
        isinstance(images, np.ndarray) and images.ndim < 4
    ):
        return [images]
    if isinstance(images, np.ndarray):
        return [*images]
    wanted = "a path, a PIL image, an array, a Crop, or any number of these"
    if isinstance(images, (bytes, Mapping)) or not isinstance(images, Iterable):
        raise TypeError(f"images must be {wanted}, not {type(images).__name__}.")
    sources: list[ImageSource] = list(images)
    for index, source in enumerate(sources):
        if not isinstance(source, ImageSource):
            raise TypeError(f"images must be {wanted}; number {index} is {source!r}.")
    return sources


def _checked_scales(scales: Sequence[float]) -> tuple[float, ...]:
    try:
        checked = tuple(float(scale) for scale in scales)
    except (TypeError, ValueError):
        checked = ()
    if not checked or not all(scale > 0 and math.isfinite(scale) for scale in checked):
        raise ValueError(f"scales must be one or more numbers greater than 0, got {scales!r}.")
    return checked


def _drain(errors: list[tuple[int, BadImageError]]) -> Iterator[tuple[int, BadImageError]]:
    while errors:
        yield errors.pop(0)

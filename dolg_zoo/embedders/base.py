"""Embed images of any kind and number with any runtime; needs no Keras."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from dolg_zoo._util.arguments import whole_number
from dolg_zoo._util.progress import track
from dolg_zoo.errors import BadImageError, BadImagesError
from dolg_zoo.preprocessing import ImageSource, batch_by_shape, decode_ahead, load_image
from dolg_zoo.preprocessing.decode import is_image_source, name_of
from dolg_zoo.preprocessing.sources import image_sources

if TYPE_CHECKING:
    from dolg_zoo.preprocessing import ImageConverter

BATCH_PIXELS = 16 * 512 * 512
"""Maximum number of pixels in a batch, unless one image alone has more. The activations take one to
a few GiB, depending on the backbone."""

MAX_IMAGE_PIXELS = 4096 * 4096
"""Maximum number of pixels of one resized image, over all its scales, for any preset."""


class ImageEmbedder:
    """Base class of models that turn images into descriptors: `DOLG` and `CompiledDOLG`.

    Attributes:
        image_converter: resizes an image for the network.
        descriptor_dim: the dimension of a descriptor.
        metadata: facts about the weights: name, license, provenance and so on.
        model_id: 32 hexadecimal digits; equal for models whose descriptors are equal up to
            rounding.
    """

    if TYPE_CHECKING:  # a property here would keep subclasses from setting an attribute
        image_converter: ImageConverter

        @property
        def descriptor_dim(self) -> int:
            """The dimension of a descriptor."""

        @property
        def metadata(self) -> dict[str, Any]:
            """Facts about the weights: name, license, provenance and so on."""

        @property
        def model_id(self) -> str:
            """32 hexadecimal digits; equal for equal models."""

    # A plain class: Keras changes the bases of a model's classes, which an ABC does not bear.

    def infer(self, images: np.ndarray) -> np.ndarray:
        """(batch, height, width, 3) uint8 to (batch, dim) float32, each row of norm 1."""
        raise NotImplementedError

    def routed(
        self,
        runtime: str | None = None,
        precision: str | None = None,
        calibration: Sequence[ImageSource] | None = None,
    ) -> ImageEmbedder:
        """Return the embedder for a runtime and precision, for a caller that embeds often.

        Args:
            runtime: a name in `dolg_zoo.runtimes.RUNTIMES`; None for the default.
            precision: "float32", "bfloat16" or "int8".
            calibration: images to calibrate "int8" with, if it was not calibrated before.
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
        """Return the descriptors of images of any kind and size.

        Args:
            images: a folder, a list or wildcards, as in `list_images` (in sorted order); a path;
                the bytes of a file, or a file opened in binary mode; a PIL image; an RGB array
                (height, width, 3) or (batch, height, width, 3), uint8 or float in [0, 255]; a
                `Crop` of one of these; any iterable of these, without folders; or a
                `tf.data.Dataset` of such arrays, possibly batched or with labels.
            batch_size: images per batch; a batch has images of one size.
            scales: multiples of the image size; the descriptor is the normalised mean of the
                descriptors at all scales. None: `image_converter.scales`.
            progress: whether to show a progress bar on a terminal if it takes long.
            runtime: a name in `dolg_zoo.runtimes.RUNTIMES`; None for the default, which
                `dolg info --runtimes` shows.
            precision: "float32", "bfloat16" or "int8"; the last two change descriptors. None for
                "float32", or the precision that the model is compiled for.

        Returns:
            (images, dim), float32, L2-normalised.

        Raises:
            TypeError: at once, if an item is not an image; the message has its index.
            ValueError: if `batch_size` or `scales` is out of range.
            RuntimeMissingError: if the runtime is not installed, or does not support the precision
                on this machine.
            BadImagesError: at the end, if some images could not be read; it has the descriptors of
                the others.
        """
        sources = image_sources(images)
        descriptors = np.zeros((len(sources), self.descriptor_dim), np.float32)
        skipped: dict[int, BadImageError] = {}
        results = self.embed_each(
            sources, batch_size=batch_size, scales=scales, runtime=runtime, precision=precision
        )
        if progress:
            results = track(results, len(sources), "Embedding")
        for index, result in results:
            if isinstance(result, BadImageError):
                skipped[index] = result
            else:
                descriptors[index] = result
        if skipped:
            embedded = [index for index in range(len(sources)) if index not in skipped]
            raise BadImagesError(dict(sorted(skipped.items())), embedded, descriptors[embedded])
        return descriptors

    def embed_each(
        self,
        images: ImageSource | Iterable[ImageSource],
        *,
        batch_size: int = 16,
        scales: Sequence[float] | None = None,
        runtime: str | None = None,
        precision: str | None = None,
    ) -> Iterator[tuple[int, np.ndarray | BadImageError]]:
        """Embed a stream of any number of images in constant memory.

        Args:
            images: images as in `load_image`, or one image.
            batch_size: images per batch.
            scales: multiples of the image size; None for the scales of the preset.
            runtime: a name in `dolg_zoo.runtimes.RUNTIMES`; None for the default.
            precision: "float32", "bfloat16" or "int8".

        Yields:
            (index, descriptor) or (index, error), one for each image, not always in their order,
            since a batch has images of one size.
        """
        scales = self.image_converter.scales_or_own(scales)
        batch_size = whole_number("batch_size", batch_size, 1)
        if is_image_source(images):
            images = image_sources(images)
        stream = cast("Iterable[ImageSource]", images)
        sample = stream if isinstance(stream, Sequence) else None
        infer = self.routed(runtime, precision, sample).infer

        resized = partial(_resized, self.image_converter, scales)
        errors: list[tuple[int, BadImageError]] = []

        def arrays() -> Iterator[tuple[int, np.ndarray]]:
            for index, _, result in decode_ahead(stream, resized, ahead=2 * batch_size):
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
        """Return the cosine similarities of images, from -1 to 1.

        Args:
            images: images, as in `embed`.
            others: images, as in `embed`; None to compare the images with each other.
            scales: multiples of the image size; None for the scales of the preset.

        Returns:
            (images, others), float32.
        """
        descriptors = self.embed(images, scales=scales)
        others = descriptors if others is None else self.embed(others, scales=scales)
        return np.clip(descriptors @ others.T, -1, 1)


def _resized(
    converter: ImageConverter, scales: Sequence[float], source: ImageSource
) -> list[np.ndarray]:
    """Return an image at each scale, (height, width, 3) uint8, or raise BadImageError."""
    image = load_image(source)
    sizes = (converter.target_size(*image.size, scale) for scale in scales)
    pixels = sum(width * height for width, height in sizes)
    if pixels > MAX_IMAGE_PIXELS:
        raise BadImageError(
            name_of(source),
            f"it would enter the network with {pixels} pixels, but the limit is"
            f" {MAX_IMAGE_PIXELS}; choose smaller or fewer scales, or another image converter",
        )
    return [converter(image, scale) for scale in scales]


def _drain(errors: list[tuple[int, BadImageError]]) -> Iterator[tuple[int, BadImageError]]:
    while errors:
        yield errors.pop(0)

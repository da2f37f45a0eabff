"""DOLG, the task: network, preprocessing and presets in one object that a user holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from dolg_zoo.layers import MARGIN_HEADS
from dolg_zoo.models import DOLGNet, MarginClassifier
from dolg_zoo.preprocessing import (
    BadImageError,
    Crop,
    ImageConverter,
    batch_by_shape,
    decode_ahead,
    list_images,
    load_image,
)
from dolg_zoo.preprocessing.decode import name_of
from dolg_zoo.presets import (
    Preset,
    PresetError,
    load_margin_head,
    load_preset,
    margin_head_of,
    preset_names,
    write_preset,
)
from dolg_zoo.progress import track

ImageSource = str | Path | Image.Image | np.ndarray | Crop

BATCH_PIXELS = 16 * 512 * 512
"""The most pixels that go through the network at once, unless one image alone has more: in
activations that is one to a few GiB, depending on the backbone."""

MAX_IMAGE_PIXELS = 4096 * 4096
"""The most pixels that one image may enter the network with, over all its scales, whatever a
preset's converter says."""


class BadImagesError(ValueError):
    """Some images could not be used; the others were embedded all the same.

    Attributes:
        skipped: index of the image to what is wrong with it.
        kept: indices of the images that were embedded, ascending.
        descriptors: (len(kept), dim) float32, in that order.
    """

    def __init__(
        self, skipped: dict[int, BadImageError], kept: list[int], descriptors: np.ndarray
    ) -> None:
        self.skipped = skipped
        self.kept = kept
        self.descriptors = descriptors
        lines = "\n".join(f"  {error}" for error in skipped.values())
        super().__init__(
            f"{len(skipped)} of {len(skipped) + len(kept)} images could not be embedded:\n{lines}"
            + (
                "\nThe descriptors of the others are in this error's `descriptors`, their indices"
                " in `kept`."
                if kept
                else ""
            )
        )


@keras.saving.register_keras_serializable(package="dolg_zoo")
class DOLG(keras.Model):
    """A DOLG retrieval model: images in, descriptors to search with out.

    An ordinary `keras.Model`: called on a batch of RGB images (batch, height, width, 3), uint8 or
    float in [0, 255], it gives their L2-normalised descriptors (batch, dim), float32.

    ```python
    model = dolg_zoo.DOLG.from_preset()
    descriptors = model.embed("photos/")
    similarities = descriptors @ descriptors.T
    ```

    Args:
        net: the network.
        image_converter: how an image file becomes the network's input.
        metadata: what is known of the weights: name, license, provenance and the like.

    Raises:
        ValueError: if the network does not take what the converter gives: RGB, or of another size.
    """

    def __init__(
        self,
        net: DOLGNet,
        image_converter: ImageConverter,
        metadata: Mapping[str, Any] | None = None,
        *,
        name: str = "dolg",
        **kwargs,
    ):
        if net.num_classes is not None:
            raise ValueError(
                f"DOLG needs a network that gives descriptors, not {net.num_classes} classes."
            )
        _check_fit(net, image_converter)
        normalize = keras.layers.UnitNormalization(dtype="float32", name="l2")
        images = net.inputs[0]
        super().__init__(images, normalize(net(images)), name=name, **kwargs)
        self.net = net
        self.image_converter = image_converter
        # not as an attribute of this name alone: Keras would wrap the dictionary
        self._metadata_items = tuple((metadata or {}).items())

    @property
    def metadata(self) -> dict[str, Any]:
        """What is known of the weights: name, license, provenance and the like."""
        return dict(self._metadata_items)

    @property
    def descriptor_dim(self) -> int:
        """The length of a descriptor."""
        return self.net.config.output_dim

    @classmethod
    def from_preset(cls, preset: str | Path | None = None) -> DOLG:
        """Loads a preset.

        Args:
            preset: a name that `dolg presets` lists; `hf://user/repo[@revision]`; or a folder that
                `save_to_preset` wrote. None for the preset that ships with dolg-zoo, which needs
                no network.

        Raises:
            PresetError: if there is no such preset, or its files are not what they must be.
            WeightsError: if a file cannot be downloaded, or is not the one that was promised.
        """
        name, loaded = load_preset(preset)
        try:
            return cls(loaded.net, loaded.image_converter, {**loaded.metadata, "preset": name})
        except ValueError as error:
            raise PresetError(f"{name}: {error}") from error

    def load_margin_head(self) -> keras.layers.Layer:
        """The head that the preset was trained under, to train on with.

        A margin head of `dolg_zoo.layers` with its class centers, for those
        presets that keep it: those converted from an upstream's checkpoint, or saved with it. Read
        anew at each call. It takes [descriptors, labels], the descriptors normalised or not, and
        gives logits for a `SparseCategoricalCrossentropy(from_logits=True)`. Its classes are those
        that the preset was trained on; for classes of your own make a new head.

        Raises:
            PresetError: if the model is of no preset, or the preset keeps no head.
            WeightsError: if a file cannot be downloaded, or is not the one that was promised.
        """
        if "preset" not in self.metadata:
            raise PresetError("This model was not loaded from a preset, so it has no margin head.")
        return load_margin_head(self.metadata["preset"])

    def with_margin_head(
        self,
        num_classes: int | None = None,
        head: str | keras.layers.Layer = "subcenter_arcface",
        **settings: Any,
    ) -> MarginClassifier:
        """This model as a classifier to be trained: `compile` and `fit` it on (images, labels).

        ```python
        classifier = model.with_margin_head(num_classes=5)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        classifier.compile("adamw", loss, metrics=["accuracy"])
        classifier.fit(images, labels)
        classifier.save_to_preset("my-places")
        ```

        The weights are this model's own: what `fit` learns, `embed` uses.

        Args:
            num_classes: number of classes; not needed with a layer as head.
            head: "arcface", "subcenter_arcface", "curricularface" or "cosine", with centers of its
                own; or such a layer, as `load_margin_head` gives.
            settings: of a head by name, such as its `scale` and `margin`.

        Raises:
            ValueError: if there is no such head, or a setting is out of its range.
            TypeError: if a setting is unknown, or the layer is no margin head.
        """
        if isinstance(head, keras.layers.Layer):
            classes = getattr(head, "num_classes", num_classes)
            if settings or num_classes not in (None, classes):
                raise ValueError(
                    f"The head is a layer with its own settings and {classes} classes; leave out"
                    f" num_classes={num_classes!r} and {sorted(settings)}."
                )
            return MarginClassifier(self, head)
        if head not in MARGIN_HEADS:
            raise ValueError(f"head must be one of {', '.join(MARGIN_HEADS)}, got {head!r}.")
        head = MARGIN_HEADS[head](num_classes, name="margin_head", **settings)
        return MarginClassifier(self, head)

    def save_to_preset(
        self,
        folder: str | Path,
        margin_head: keras.layers.Layer | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Writes the model as a preset folder, which `from_preset` reads back bit for bit.

        Args:
            folder: where to; a preset that is there is replaced, its margin head too.
            margin_head: the head of `dolg_zoo.layers.MARGIN_HEADS` that the model was trained
                under, to be kept for those who train on; `load_margin_head` reads it back.
            metadata: what is to be said of the weights besides, or in place of, what is known of
                the preset that they come from: description, dataset, license and the like.

        Raises:
            PresetError: if the backbone cannot be described without code, or the head is no such
                layer.
            OSError: if the folder cannot be written.
        """
        known = self.metadata_when_changed() | dict(metadata or {})
        preset = Preset(self.net, self.image_converter, known)
        write_preset(folder, preset, margin_head and margin_head_of(margin_head))

    def metadata_when_changed(self) -> dict[str, Any]:
        """What of `metadata` holds for a model made from this one, by training or otherwise."""
        stale, preset = {"preset", "sha256"}, self.metadata.get("preset", "")
        if preset:
            stale |= {"source", "figures", "figures_note"}
        named = self.metadata.get("name") if preset else None  # of a copy of a preset's folder
        origin = named if named in preset_names() else preset
        theirs = origin in preset_names() or origin.startswith("hf://")
        if theirs:  # not a folder of the user's
            stale |= {"name", "description", "dataset", "provenance"}
        known = {key: value for key, value in self.metadata.items() if key not in stale}
        if theirs:
            known["derived_from"] = origin
        return known

    def embed(
        self,
        images: ImageSource | Iterable[ImageSource],
        *,
        batch_size: int = 16,
        scales: Sequence[float] | None = None,
        progress: bool = True,
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

        Returns:
            (images, dim), float32, each row of length 1.

        Raises:
            TypeError: at once, if something is none of these, naming its place.
            ValueError: if `batch_size` or `scales` is out of its range.
            BadImagesError: at the end, if some images could not be read; it carries the
                descriptors of all others.
        """
        sources = _sources(images)
        descriptors = np.zeros((len(sources), self.descriptor_dim), np.float32)
        skipped: dict[int, BadImageError] = {}
        found = self.embed_each(sources, batch_size=batch_size, scales=scales)
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
        images: Iterable[ImageSource],
        *,
        batch_size: int = 16,
        scales: Sequence[float] | None = None,
    ) -> Iterator[tuple[int, np.ndarray | BadImageError]]:
        """Embeds a stream of images, however long, in memory that does not grow with it.

        Args:
            images: paths, PIL images, arrays (height, width, 3) or crops, as for `embed`.
            batch_size: images that go through the network at once.
            scales: as for `embed`.

        Yields:
            (index, descriptor) or (index, error), one for each image, as they are done, which is
            not quite their order: images of one size wait for each other.
        """
        scales = _checked_scales(self.image_converter.scales if scales is None else scales)
        if type(batch_size) is not int or batch_size < 1:
            raise ValueError(f"batch_size must be a whole number from 1 on, got {batch_size!r}.")

        def work(source: ImageSource) -> list[np.ndarray]:
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
            for index, descriptor in zip(indices, self._infer(batch).numpy(), strict=True):
                sums[index] = sums.get(index, 0) + descriptor
                missing[index] = missing.get(index, len(scales)) - 1
                if not missing[index]:
                    del missing[index]
                    mean = sums.pop(index)
                    yield index, mean / max(np.linalg.norm(mean), 1e-12)
            yield from _drain(errors)
        yield from _drain(errors)

    @cached_property
    def _infer(self) -> Callable[[np.ndarray], tf.Tensor]:
        # `predict` traces anew for the first few shapes it meets, and a graph for one shape rounds
        # otherwise than one for all: descriptors would depend on what was embedded before.
        signature = tf.TensorSpec(self.input_shape, tf.uint8)
        return tf.function(lambda images: self(images, training=False), [signature])

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

    def get_config(self) -> dict[str, Any]:
        """The arguments, in a form that `from_config` takes."""
        return {
            "name": self.name,
            "trainable": self.trainable,
            "net": keras.saving.serialize_keras_object(self.net),
            "image_converter": self.image_converter.to_config(),
            "metadata": self.metadata,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None) -> DOLG:
        """The model that `get_config` described, with new weights."""
        config = dict(config)
        trainable = config.pop("trainable", True)
        config["net"] = keras.saving.deserialize_keras_object(
            config["net"], custom_objects=custom_objects
        )
        config["image_converter"] = ImageConverter.from_config(config["image_converter"])
        model = cls(**config)
        model.trainable = trainable
        return model


def _sources(images: ImageSource | Iterable[ImageSource]) -> Sequence[ImageSource]:
    if isinstance(images, (str, Path)):
        return list_images(images) if Path(images).is_dir() else [images]
    if isinstance(images, (Image.Image, Crop)) or (
        isinstance(images, np.ndarray) and images.ndim < 4
    ):
        return [images]
    if isinstance(images, np.ndarray):
        return images
    wanted = "a path, a PIL image, an array, a Crop, or any number of these"
    if isinstance(images, (bytes, Mapping)) or not isinstance(images, Iterable):
        raise TypeError(f"images must be {wanted}, not {type(images).__name__}.")
    sources = list(images)
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


def _check_fit(net: DOLGNet, converter: ImageConverter) -> None:
    if not isinstance(converter, ImageConverter):
        raise ValueError(f"image_converter must be an ImageConverter, got {converter!r}.")
    height, width, channels = net.input_shape[1:]
    if channels != 3:
        raise ValueError(
            f"DOLG takes RGB images, and the network takes {channels} channel(s); use the DOLGNet"
            " by itself."
        )
    if (height, width) == (None, None):
        return
    gives = None
    if converter.mode == "squash":
        gives = converter.target_size(width or 1, height or 1)[::-1]
    if gives != (height, width):
        raise ValueError(
            f"The network takes images of {height}×{width} pixels only; its image converter must"
            f' have mode="squash" and size=({height}, {width}), not {converter}.'
        )

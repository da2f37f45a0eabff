"""DOLG: network, preprocessing and presets in one object."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dolg_zoo._util.arguments import one_of
from dolg_zoo._util.files import user_path
from dolg_zoo._util.forked import check_not_forked
from dolg_zoo.embedders.base import ImageEmbedder
from dolg_zoo.embedders.compiled import CompiledDOLG, compile_model
from dolg_zoo.embedders.fingerprint import fingerprint, name_of_model
from dolg_zoo.errors import PresetError
from dolg_zoo.explaining import Explanation, explain
from dolg_zoo.exporting import export_model
from dolg_zoo.exporting.export import Accept
from dolg_zoo.layers import MARGIN_HEADS
from dolg_zoo.models import DOLGNet, MarginClassifier
from dolg_zoo.models.dtype_policy import check_not_quantized, dtype_policy
from dolg_zoo.models.one_process import OneProcess
from dolg_zoo.preprocessing import ImageConverter, ImageSource
from dolg_zoo.presets import (
    Preset,
    load_margin_head,
    load_preset,
    margin_head_of,
    preset_names,
    write_preset,
)
from dolg_zoo.presets.origins import ResolvedPreset
from dolg_zoo.runtimes import default_runtime
from dolg_zoo.runtimes.telemetry import no_telemetry
from dolg_zoo.weights import load_manifest


class _Presets:
    """The value of `DOLG.presets`, read from the manifest at each access."""

    def __get__(self, instance: object, owner: type) -> dict[str, dict[str, Any]]:
        shown = ("description", "architecture", "descriptor_dim", "dataset", "license", "figures")
        return {
            name: {key: getattr(entry, key) for key in shown}
            for name, entry in load_manifest().entries.items()
        }


@keras.saving.register_keras_serializable(package="dolg_zoo")
class DOLG(ImageEmbedder, OneProcess, keras.Model):
    """A DOLG retrieval model, which turns images into descriptors for search.

    An ordinary `keras.Model`: called on a batch of RGB images (batch, height, width, 3), uint8 or
    float in [0, 255], it returns their L2-normalised descriptors (batch, dim), float32.

    ```python
    model = dolg_zoo.DOLG.from_preset()
    descriptors = model.embed("photos/")
    similarities = descriptors @ descriptors.T
    ```

    Args:
        net: the network.
        image_converter: resizes and crops an image for the network.
        metadata: facts about the weights: name, license, provenance and so on.

    Raises:
        ValueError: if the input of the network does not match the output of the converter: not RGB,
            or another size.
    """

    keras_parts = ("net",)

    def __init__(
        self,
        net: DOLGNet,
        image_converter: ImageConverter,
        metadata: Mapping[str, Any] | None = None,
        *,
        name: str = "dolg",
        **kwargs: Any,
    ) -> None:
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
        # Keras would wrap the dictionary if it were a plain attribute
        self._metadata_items = tuple((metadata or {}).items())
        self._compiled: dict[tuple[str, str | None, str], CompiledDOLG] = {}

    @property
    def metadata(self) -> dict[str, Any]:
        """Facts about the weights: name, license, provenance and so on."""
        return dict(self._metadata_items)

    @property
    def descriptor_dim(self) -> int:
        """The dimension of a descriptor."""
        return self.net.config.output_dim

    presets = _Presets()
    """Facts about each preset, by name: description, architecture, descriptor_dim, dataset, license
    and figures."""

    @classmethod
    def from_preset(
        cls,
        preset: str | Path | ResolvedPreset | None = None,
        load_weights: bool = True,
        dtype: str | keras.DTypePolicy | None = None,
    ) -> DOLG:
        """Load a preset.

        Args:
            preset: a name that `dolg presets` lists; `hf://user/repo[@revision]`; or a folder that
                `save_to_preset` wrote. None for the preset that ships with dolg-zoo, which needs
                no network.
            load_weights: False for the same network with random weights.
            dtype: the dtype policy of the layers, such as "mixed_bfloat16"; None for Keras's
                global policy, usually "float32".

        Raises:
            PresetError: if there is no such preset, or its files are not valid.
            WeightsError: if a file cannot be downloaded, or its sha256 differs from the expected.
            ValueError: if `dtype` is not a dtype policy.
        """
        check_not_forked()
        name, loaded = load_preset(preset, load_weights=load_weights, dtype=dtype)
        metadata = {**loaded.metadata, "preset": name}
        if not load_weights:
            metadata = {"name": f"{name} with random weights"}
        try:
            with dtype_policy(dtype):
                return cls(loaded.net, loaded.image_converter, metadata)
        except ValueError as error:
            raise PresetError(f"{name}: {error}") from error

    def load_margin_head(self) -> keras.layers.Layer:
        """Load the margin head that the preset was trained with, to continue the training.

        It is a layer of `dolg_zoo.layers` with its class centers. Presets have one if they were
        converted from an upstream checkpoint or saved with it. The layer maps [descriptors,
        labels] to logits for `SparseCategoricalCrossentropy(from_logits=True)`; descriptors need
        not be normalised. Its classes are the training classes of the preset; for your own classes
        make a new head.

        Raises:
            PresetError: if the model does not come from a preset, or the preset has no margin head.
            WeightsError: if a file cannot be downloaded, or its sha256 differs from the expected.
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
        """Return a classifier with this model, to `compile` and `fit` on (images, labels).

        ```python
        classifier = model.with_margin_head(num_classes=5)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        classifier.compile("adamw", loss, metrics=["accuracy"])
        classifier.fit(images, labels)
        classifier.save_to_preset("my-places")
        ```

        It shares the weights of this model: after `fit`, `embed` uses the trained weights.

        Args:
            num_classes: number of classes; not needed with a layer as head.
            head: "arcface", "subcenter_arcface", "curricularface" or "cosine", with new centers; or
                a head layer, such as `load_margin_head` returns.
            settings: arguments of the head, such as `scale` and `margin`, if it is given by name.

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
        head = MARGIN_HEADS[one_of("head", head, MARGIN_HEADS)](
            num_classes, name="margin_head", **settings
        )
        return MarginClassifier(self, head)

    def fine_tune(
        self,
        photos: str | Path,
        output: str | Path = "my-dolg",
        *,
        epochs: int | None = None,
        validate: float | None = None,
        validate_on: str | Path | None = None,
        say: Callable[[str], None] = print,
    ) -> DOLG:
        """Fine-tune a copy of this model on your own photographs, as `dolg train --data` does.

        ```python
        mine = dolg_zoo.DOLG.from_preset().fine_tune("photos/", "my-places")
        mine.embed("photos/")
        print(mine.metadata["figures_note"])  # whether training helped
        ```

        Some classes are held out of training, to measure whether the model finds them better. The
        result has the best of three weights: the trained weights, this model's weights, and their
        averages. The same call continues an interrupted run.

        Args:
            photos: a folder with a subfolder for each class, or a CSV list with the columns image
                and label.
            output: the folder for the preset, the curves and the checkpoints.
            epochs: number of passes over the photographs; None for 3, or up to 8 if they are few.
            validate: share of the classes to validate on, from 0 (none) to below 1; None for 0.2,
                or more if the classes are few.
            validate_on: a folder or a list like `photos` to validate on instead.
            say: called with each line about the progress of the run.

        Returns:
            The fine-tuned model, loaded from the preset in `output`.

        Raises:
            TrainingConfigError: if an argument is out of range, or `output` holds a run with other
                settings.
            DataError: if there is nothing to train on, or most images cannot be read.
            OutputError: if `output` holds files that belong to no training run.
            OSError: if a file cannot be read or written.
        """
        # imported here, since `training` imports this module
        training = importlib.import_module("dolg_zoo.training")
        config = training.TrainingConfig.for_photos(
            photos, self.metadata.get("preset", "a model in memory"), epochs, validate, validate_on
        )
        return DOLG.from_preset(training.train(config, output, start=self, say=say).preset)

    def save_to_preset(
        self,
        folder: str | Path,
        margin_head: keras.layers.Layer | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the model as a preset folder; `from_preset` restores the weights bit for bit.

        Args:
            folder: the folder; a preset in it is replaced, with its margin head.
            margin_head: the layer of `dolg_zoo.layers.MARGIN_HEADS` that the model was trained
                with; `load_margin_head` loads it again.
            metadata: description, dataset, license and so on; they replace or complete the
                metadata of the weights' preset.

        Raises:
            PresetError: if the backbone cannot be described without code, a layer is quantized, a
                weight is not finite, or `margin_head` is not such a layer; an existing preset does
                not change.
            OSError: if the folder cannot be written.
        """
        known = self.metadata_when_changed() | dict(metadata or {})
        preset = Preset(self.net, self.image_converter, known)
        write_preset(folder, preset, margin_head and margin_head_of(margin_head))

    def save(self, filepath: str | Path, *args: Any, **kwargs: Any) -> None:
        """Write the model as a `.keras` file: see `keras.Model.save`.

        Raises:
            ValueError: if layers are quantized; then nothing is written.
        """
        check_not_quantized(self.net)
        super().save(user_path(filepath), *args, **kwargs)

    def metadata_when_changed(self) -> dict[str, Any]:
        """Return the part of `metadata` that still holds after the model was trained."""
        stale, preset = {"preset", "sha256"}, self.metadata.get("preset", "")
        if preset:
            stale |= {"source", "figures", "figures_note"}
        named = self.metadata.get("name") if preset else None  # for a copy of a preset's folder
        origin = named if named in preset_names() else preset
        is_public = origin in preset_names() or origin.startswith("hf://")
        if is_public:
            stale |= {"name", "description", "dataset", "provenance"}
        known = {key: value for key, value in self.metadata.items() if key not in stale}
        if is_public:
            known["derived_from"] = origin
        return known

    @property
    def model_id(self) -> str:
        """32 hexadecimal digits of the weights; equal for models with equal descriptors."""
        return fingerprint(self)

    def compile_for_inference(
        self,
        runtime: str | None = None,
        precision: str = "float32",
        *,
        calibration: Sequence[ImageSource] | None = None,
        threads: int | None = None,
    ) -> CompiledDOLG:
        """Compile the model for a runtime: batch normalisation is folded, weights are constants.

        The result is cached under the sha256 of the weights, for later calls. Later training of
        this model does not change it.

        ```python
        fast = model.compile_for_inference("openvino")
        descriptors = fast.embed("photos/")
        ```

        Args:
            runtime: a name in `dolg_zoo.runtimes.RUNTIMES`; None for the default or, if that cannot
                compute this model, the next one that can.
            precision: "float32", "bfloat16" or "int8". The last two have another `model_id`, so
                their descriptors are not mixed with others.
            calibration: about a hundred images to calibrate "int8" with, similar to the images that
                you will embed; not needed if it was calibrated before.
            threads: number of threads; None for one per core. Keras uses its own setting.

        Raises:
            RuntimeMissingError: if the runtime is not installed, or does not support the precision
                on this machine.
            CompilationError: if a "float32" descriptor differs from that of Keras by more than
                1e-4 in norm.
            ValueError: if there is no such runtime or precision, or no image to calibrate with.
        """
        return compile_model(self, runtime, precision, calibration, threads)

    def routed(
        self,
        runtime: str | None = None,
        precision: str | None = None,
        calibration: Sequence[ImageSource] | None = None,
    ) -> ImageEmbedder:
        """Return the embedder for a runtime and precision: this model itself, or its compiled form.

        Without `runtime`, a preset in float32 uses the default runtime. Any other model in float32
        is returned itself: it may be trained between calls, and compiling it again would cost more
        time than it saves.
        """
        precision = precision or "float32"
        if runtime == "keras" and precision == "float32":
            return self
        by_default = runtime is None and precision == "float32"
        if by_default:
            is_plain = "preset" in self.metadata and self.dtype_policy.name == "float32"
            if not is_plain or default_runtime() == "keras":
                return self
        model_id = self.model_id  # a hash of all weights
        if (
            by_default and default_runtime(model_id=model_id) == "keras"
        ):  # Keras is the fastest here
            return self
        key = (model_id, runtime or default_runtime(precision), precision)
        if key not in self._compiled:
            self._compiled.clear()
            self._compiled[key] = self.compile_for_inference(
                runtime, precision, calibration=calibration
            )
        return self._compiled[key]

    def export(
        self,
        filepath: str | Path,
        format: str = "savedmodel",
        verbose: bool | None = None,
        input_signature: Any = None,
        *,
        precision: str = "float32",
        size: tuple[int, int] | None = None,
        calibration: Sequence[ImageSource] | None = None,
        accept: Callable[[CompiledDOLG], dict[str, Any]] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any] | None:
        """Write the model as a file for model servers, from RGB images (uint8) to descriptors.

        The file normalises images but does not resize them: a record in the file, or beside it,
        says how images must be resized (`image_converter`). Before the file gets its final name,
        its runtime loads it, and it is compared with the model on photographs.

        Args:
            filepath: a folder for "savedmodel"; else a file whose name ends in .onnx, .xml or
                .tflite. An existing export is replaced.
            format: "savedmodel", also called "tf_saved_model"; or a runtime other than "keras".
            verbose: whether to print the path, as Keras does.
            input_signature: if given, `keras.Model.export` is called instead, and the rest of this
                docstring does not apply. Other keywords of Keras and the format "torch" do the
                same.
            precision: "float32" or "int8"; "int8" changes descriptors.
            size: (height, width) of all images; None for any size, if the network allows it.
                "litert" needs a size unless the image converter has a fixed output size.
            calibration: images to calibrate "int8" with.
            accept: called with the export as a `CompiledDOLG` before it gets its final name. It
                raises an error to refuse the export; its dict is added to the result.

        Returns:
            path, format, precision, size, bytes, distance (the largest L2 distance of a descriptor
            to the model's) and cosine_to_model, both at the size of the file; with a `size`, also
            cosine_to_own_resizing, to the model's descriptors with its own resizing.

        Raises:
            ExportError: if the model cannot be exported this way, or a "float32" descriptor
                differs by more than 1e-5 in norm; then nothing is written.
            RuntimeMissingError: if a package is missing; the message names the extra.
        """
        if input_signature is not None or kwargs or format == "torch":
            with no_telemetry():
                super().export(str(user_path(filepath)), format, verbose, input_signature, **kwargs)
            return None
        facts = export_model(
            self,
            filepath,
            format,
            precision=precision,
            size=size,
            calibration=calibration,
            accept=accept and _of_compiled(accept),
        )
        if verbose:
            print(f"Saved artifact at '{filepath}'.")
        return facts

    def explain(
        self, image: ImageSource, other: ImageSource | None = None, *, scale: float = 1.0
    ) -> Explanation:
        """Show the attention of the local branch, and why two images match.

        ```python
        model.explain("query.jpg", "photos/rocket.jpg").save("why.png")
        ```

        A descriptor is a global part plus one contribution per position of the local feature map,
        so the cosine similarity of two descriptors is a sum of such parts. They are computed in
        float64.

        Args:
            image: a path, a PIL image, an array or a `Crop`.
            other: another image to compare with.
            scale: multiple of the image converter's size.

        Raises:
            BadImageError: if an image cannot be read.
        """
        from dolg_zoo.explaining.keras_maps import decompose_by_keras

        check_not_forked()
        taken_apart = partial(decompose_by_keras, self.net)
        return explain(taken_apart, self.image_converter, image, other, name_of_model(self), scale)

    def infer(self, images: np.ndarray) -> np.ndarray:
        """See `ImageEmbedder.infer`."""
        check_not_forked()
        return self.traced(images).numpy()

    @cached_property
    def traced(self) -> Callable[[np.ndarray], tf.Tensor]:
        """The model as one TensorFlow function of uint8 images of any batch size."""
        # `predict` traces a new graph for each of the first few shapes. A graph for one shape
        # rounds differently from one for all, so descriptors would depend on earlier images.
        signature = tf.TensorSpec(self.input_shape, tf.uint8)
        return tf.function(lambda images: self(images, training=False), [signature])

    def __repr__(self) -> str:
        """Return the preset, the dimension and the size of images."""
        converter = self.image_converter
        return (
            f"<DOLG of {name_of_model(self)}: {self.descriptor_dim} dimensions, images of size"
            f" {converter.size} ({converter.mode})>"
        )

    def _run_through_graph(self, *args: Any, **kwargs: Any) -> Any:
        # Keras calls this to compute, but also to clone: the clone would lack `embed`
        caller = getattr(kwargs.get("operation_fn"), "__qualname__", "")
        if caller.startswith("_clone_functional_model"):
            raise TypeError(
                "keras.models.clone_model would not return a DOLG. Use copy.deepcopy(model),"
                " or DOLG.from_config(model.get_config()) for new weights."
            )
        return super()._run_through_graph(*args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments for `from_config`."""
        return {
            "name": self.name,
            "trainable": self.trainable,
            "net": keras.saving.serialize_keras_object(self.net),
            "image_converter": self.image_converter.to_config(),
            "metadata": self.metadata,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> DOLG:
        """Return the model of a `get_config` dict, with new weights."""
        converter = ImageConverter.from_config(config["image_converter"])
        return super().from_config({**config, "image_converter": converter}, custom_objects)


def _of_compiled(accept: Callable[[CompiledDOLG], dict[str, Any]]) -> Accept:
    return lambda infer, record: accept(CompiledDOLG(infer, record))


def _check_fit(net: DOLGNet, converter: ImageConverter) -> None:
    if not isinstance(converter, ImageConverter):
        raise ValueError(f"image_converter must be an ImageConverter, got {converter!r}.")
    height, width, channels = net.input_shape[1:]
    if channels != 3:
        raise ValueError(
            f"DOLG takes RGB images, but the network takes {channels} channel(s); use the DOLGNet"
            " directly."
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

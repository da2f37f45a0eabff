"""The configuration of a training run, from one TOML file."""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dolg_zoo._util.arguments import check_fields, number, one_of, stated, whole_number
from dolg_zoo._util.files import user_path
from dolg_zoo.backbones import BACKBONES
from dolg_zoo.errors import PublishError
from dolg_zoo.errors import TrainingConfigError as TrainingConfigError
from dolg_zoo.publishing.metadata import check_metadata

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HEADS = ("arcface", "cosine", "curricularface", "subcenter_arcface")
"""The names in `dolg_zoo.layers.MARGIN_HEADS`, which needs Keras."""


USUAL_SIZE = 224
"""Side of training images; search uses 256, since random crops make objects larger."""


def _share_below_1(name: str, value: object) -> float:
    if number(name, value, 0, 1) == 1:
        raise ValueError(f"{name} must be below 1.")
    return float(value)  # type: ignore[arg-type]


def _shares_below_1(name: str, value: object) -> object:
    shares = value if isinstance(value, tuple) else (value,)
    if not shares:
        raise ValueError(f"{name} needs a share, such as 0.")
    for share in shares:
        _share_below_1(name, share)
    return value


def _area(name: str, value: Any) -> object:
    if not (
        len(value) == 2
        and all(type(side) in (int, float) for side in value)
        and 0 < value[0] <= value[1] <= 1
    ):
        raise ValueError(f"{name} must be two shares, 0 < least <= most <= 1, got {value}.")
    return value


def _weights_of_backbone(name: str, value: str) -> str:
    return value if value.startswith("hf://") else one_of(name, value, ("imagenet", "random"))


class _Plan:
    """A table of the file, with the name of its class."""

    def __post_init__(self) -> None:
        table = type(self).__name__.removesuffix("Plan").lower()
        try:
            check_fields(self, f"[{table}] ")
        except ValueError as error:
            raise TrainingConfigError(str(error)) from None
        self._check_together()

    def _check_together(self) -> None:
        """Raise TrainingConfigError for fields that exclude each other."""


@dataclasses.dataclass(frozen=True)
class ModelPlan(_Plan):
    """The model to train: a preset, or an architecture with a new head.

    Attributes:
        preset: a name, hf://user/repo, or a folder. None: the default preset, unless there is an
            architecture.
        architecture: a name of `dolg_zoo.BACKBONES`; None with a preset.
        backbone_weights: "imagenet", "random", or the address of timm weights, such as
            hf://timm/resnet50.a1_in1k; only with an architecture.
        settings: only with an architecture: fields of `DOLGConfig`, such as descriptor_dim, and
            image_converter, a table with the attributes of `ImageConverter`.
    """

    preset: str | None = None
    architecture: str | None = stated(one_of, known=tuple(BACKBONES), default=None)
    backbone_weights: str = stated(_weights_of_backbone, default="imagenet")
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)

    def _check_together(self) -> None:
        if self.preset is not None and self.architecture is not None:
            raise TrainingConfigError(
                "[model] needs either preset or architecture, got"
                f" preset={self.preset!r} and architecture={self.architecture!r}."
            )
        if self.architecture is None and self.settings:
            raise TrainingConfigError("[model.settings] is for a new model; a preset has its own.")


@dataclasses.dataclass(frozen=True)
class SplitPlan(_Plan):
    """The images for validation.

    Attributes:
        by: "class" takes whole classes, since users search for objects that were not trained on;
            "image" takes a share of the images of each class; "none" takes nothing. None: "class"
            if there are at least four classes, else "image".
        share: the share of classes or images for validation, above 0 and below 1. None: a fifth;
            of fewer than 30 classes up to a third, to get six.
        classes: names of the classes for validation, instead of a share.
        on: a folder or a CSV list, as in [data], with other images for validation. Then all images
            of [data] are for training.
    """

    by: str | None = stated(one_of, known=("class", "image", "none"), default=None)
    share: float | None = stated(number, least=0, most=1, open_ends=True, default=None)
    classes: tuple[Any, ...] = ()
    on: str | None = None

    def _check_together(self) -> None:
        if self.on is not None and (self.by is not None or self.share is not None or self.classes):
            raise TrainingConfigError(
                f"[split] on = {self.on!r} names the images for validation; leave by, share and"
                " classes out."
            )


@dataclasses.dataclass(frozen=True)
class HeadPlan(_Plan):
    """The margin head.

    Attributes:
        name: a name of `dolg_zoo.layers.MARGIN_HEADS`.
        dynamic_margins: whether rare classes get larger margins; only for "subcenter_arcface".
        label_smoothing: share of the target probability that is spread over all classes, from 0
            to below 1.
        settings: arguments of the layer, such as scale and margin.
    """

    name: str = stated(one_of, known=HEADS, default="arcface")
    dynamic_margins: bool = False
    label_smoothing: float = stated(_share_below_1, default=0.05)
    settings: dict[str, Any] = dataclasses.field(
        default_factory=lambda: {"scale": 24.0, "margin": 0.2}
    )

    def _check_together(self) -> None:
        if self.dynamic_margins and self.name != "subcenter_arcface":
            raise TrainingConfigError(
                f'[head] dynamic_margins needs name = "subcenter_arcface", got {self.name!r}.'
            )


@dataclasses.dataclass(frozen=True)
class OptimizerPlan(_Plan):
    """The optimizer. The defaults are for fine-tuning a preset; docs/fine_tune.md has figures.

    Attributes:
        name: "sgd" (with Nesterov momentum) or "adamw".
        learning_rate: the maximum learning rate, after the warm-up; it then falls to 0 as a cosine.
        momentum: momentum of SGD, at least 0 and below 1.
        weight_decay: SGD adds weight_decay × weight to the gradient, as PyTorch does; AdamW decays
            the weight independently of the gradient.
        warmup_epochs: number of epochs in which the learning rate rises from 0. In a run with no
            more epochs than that, it is half of the run.
        backbone_rate: factor of the learning rate in the backbone. With a larger factor a network
            learns faster, and forgets more.
        layer_decay: another factor of the learning rate, in the first layer of the backbone; it
            rises geometrically to 1 in the last layer.
        head_rate: factor of the learning rate in the margin head, whose centers begin at random.
        local_rate: factor of the learning rate in the local branch. Above 1, the branch keeps up
            with a global vector that grows while the backbone is trained.
        clip_norm: maximum global gradient norm; 0 for none.
        accumulate: number of batches whose gradients are averaged for one step.
        ema: momentum of the exponential moving average of the weights, such as 0.999. The average
            is validated and saved. 0 for none.
        average_with_start: share of the starting weights, from 0 to below 1, in the weighted mean
            that is validated and saved. With it a network forgets less. Of several shares, each is
            validated after every epoch; the share nearest to one half is saved, unless another is
            clearly better. Without images for validation, the share nearest to one half is saved.
            Source: WiSE-FT, arXiv 2109.01903.
    """

    name: str = stated(one_of, known=("sgd", "adamw"), default="adamw")
    learning_rate: float = stated(number, least=0, open_ends=True, default=5e-4)
    momentum: float = stated(number, least=0, most=1, default=0.9)
    weight_decay: float = stated(number, least=0, default=0.01)
    warmup_epochs: float = stated(number, least=0, default=0.2)
    backbone_rate: float = stated(number, least=0, most=1, default=0.4)
    layer_decay: float = stated(number, least=0, most=1, default=1.0)
    head_rate: float = stated(number, least=0, default=10.0)
    local_rate: float = stated(number, least=0, default=10.0)
    clip_norm: float = stated(number, least=0, default=5.0)
    accumulate: int = stated(whole_number, least=1, default=1)
    ema: float = stated(number, least=0, most=1, default=0.0)
    average_with_start: float | tuple[float, ...] = stated(
        _shares_below_1, default=(0.0, 0.25, 0.5, 0.75)
    )

    @property
    def shares_of_start(self) -> tuple[float, ...]:
        """The values of `average_with_start`, sorted by distance from one half."""
        shares = self.average_with_start
        shares = shares if isinstance(shares, tuple) else (shares,)
        return tuple(sorted(shares, key=lambda share: (abs(share - 0.5), -share)))


@dataclasses.dataclass(frozen=True)
class AugmentationPlan(_Plan):
    """Random augmentation of training images, new in every epoch.

    Attributes:
        crop: whether to crop a part of random size and aspect ratio.
        area: minimum and maximum area of that part, as a share of the image.
        flip: whether to mirror half of the images.
        brightness: factor of `keras.layers.RandomColorJitter`, from 0 (none) to 1.
        contrast: the same for contrast.
        saturation: the same for saturation.
        hue: the same for hue, from 0 to 0.5.
        cut_out: maximum side of an erased box, as a share of the image side; 0 for none.
    """

    crop: bool = True
    area: tuple[float, float] = stated(_area, default=(0.25, 1.0))
    flip: bool = True
    brightness: float = stated(number, least=0, most=1, default=0.2)
    contrast: float = stated(number, least=0, most=1, default=0.2)
    saturation: float = stated(number, least=0, most=1, default=0.2)
    hue: float = stated(number, least=0, most=0.5, default=0.02)
    cut_out: float = stated(number, least=0, most=1, default=0.0)


@dataclasses.dataclass(frozen=True)
class RunPlan(_Plan):
    """Length of the run, batches and precision.

    Attributes:
        epochs: number of passes over the training images. None: 3; with fewer than a hundred
            images, up to 8.
        batch_size: number of images per step, for all workers together.
        image_size: height and width of training images in pixels. None: 224, or the fixed input
            size of the network.
        seed: the seed of all random numbers.
        balanced: whether to draw all classes equally often, instead of all images.
        images_per_class: number of images of each class in a batch; more than 1 needs
            balanced = true, and must divide batch_size.
        precision: "float32", "mixed_bfloat16" or "mixed_float16".
        freeze_backbone_epochs: number of epochs at the beginning in which the backbone is frozen.
        backbone_batch_norm: "frozen" uses the moving averages of the backbone; "trained" uses the
            statistics of each batch, which needs large batches.
        checkpoint_minutes: minutes between checkpoints; each epoch also ends with one.
        early_stop_epochs: number of epochs without a better validation mAP after which the run
            ends; 0 for never.
        tensorboard: whether to write curves for TensorBoard.
    """

    epochs: int | None = stated(whole_number, least=1, default=None)
    batch_size: int = stated(whole_number, least=1, default=32)
    image_size: int | None = stated(whole_number, least=32, default=None)
    seed: int = stated(whole_number, least=0, default=0)
    balanced: bool = False
    images_per_class: int = stated(whole_number, least=1, default=1)
    precision: str = stated(
        one_of, known=("float32", "mixed_bfloat16", "mixed_float16"), default="float32"
    )
    freeze_backbone_epochs: int = stated(whole_number, least=0, default=0)
    backbone_batch_norm: str = stated(one_of, known=("frozen", "trained"), default="frozen")
    checkpoint_minutes: float = stated(number, least=0, default=10.0)
    early_stop_epochs: int = stated(whole_number, least=0, default=0)
    tensorboard: bool = False

    def _check_together(self) -> None:
        if self.images_per_class > 1 and not self.balanced:
            raise TrainingConfigError("[run] images_per_class needs balanced = true.")
        if self.batch_size % self.images_per_class:
            raise TrainingConfigError(
                f"[run] batch_size = {self.batch_size} must be a multiple of images_per_class,"
                f" {self.images_per_class}."
            )


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """A training run. Each attribute is a table of the TOML file.

    Attributes:
        data: the source of the images, for `dolg_zoo.training.data.load_examples`.
        model: the model to train.
        split: the images for validation.
        head: the margin head.
        optimizer: the optimizer.
        augmentation: the augmentation of training images.
        run: length of the run, batches and precision.
        metadata: metadata of the new preset, such as description and license; see `dolg publish`.

    Raises:
        TrainingConfigError: if a value is out of range; the message names table and key.
    """

    data: dict[str, Any]
    model: ModelPlan = dataclasses.field(default_factory=ModelPlan)
    split: SplitPlan = dataclasses.field(default_factory=SplitPlan)
    head: HeadPlan = dataclasses.field(default_factory=HeadPlan)
    optimizer: OptimizerPlan = dataclasses.field(default_factory=OptimizerPlan)
    augmentation: AugmentationPlan = dataclasses.field(default_factory=AugmentationPlan)
    run: RunPlan = dataclasses.field(default_factory=RunPlan)
    metadata: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.run.epochs and self.run.freeze_backbone_epochs >= self.run.epochs:
            raise TrainingConfigError(
                f"[run] freeze_backbone_epochs ({self.run.freeze_backbone_epochs}) must be fewer"
                f" than epochs ({self.run.epochs}); for a backbone that never learns set"
                " [optimizer] backbone_rate = 0."
            )
        try:
            check_metadata(self.metadata)
        except PublishError as error:
            raise TrainingConfigError(f"[metadata]: {error}") from error

    @classmethod
    def from_dict(cls, tables: Mapping[str, Any]) -> TrainingConfig:
        """Return the configuration from the tables of a TOML file."""
        _known("the file", tables, cls, "table")
        if not isinstance(tables.get("data"), Mapping):
            raise TrainingConfigError("A table [data] is missing.")
        hints = typing.get_type_hints(cls)
        parts: dict[str, Any] = {
            name: dict(_table(name, table))
            if typing.get_origin(hints[name]) is dict
            else _plan(hints[name], name, table)
            for name, table in tables.items()
        }
        return cls(**parts)

    @classmethod
    def from_toml(cls, path: str | Path) -> TrainingConfig:
        """Return the configuration in a file; paths of [data] are relative to the file's folder."""
        try:
            tables = tomllib.loads(user_path(path).read_text("utf-8"))
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise TrainingConfigError(f"{path} is no TOML file: {error}") from error
        try:
            return cls.from_dict(tables)
        except TrainingConfigError as error:
            raise TrainingConfigError(f"{path}: {error}") from error

    @classmethod
    def for_photos(
        cls,
        photos: str | Path,
        preset: str | None = None,
        epochs: int | None = None,
        validate: float | None = None,
        validate_on: str | Path | None = None,
    ) -> TrainingConfig:
        """Return the configuration that fine-tunes a preset on a folder or a CSV list."""
        run = RunPlan(epochs=epochs)
        config = cls(data_table(photos), ModelPlan(preset=preset), run=run)
        return config.with_split(validate, validate_on)

    def with_split(
        self, share: float | None = None, on: str | Path | None = None
    ) -> TrainingConfig:
        """Return the configuration with another share for validation, or other images."""
        if share is not None and on is not None:
            raise TrainingConfigError(
                f"Give a share to validate on ({share:g}) or images ({str(on)!r}), not both."
            )
        if share is not None:
            plan = SplitPlan(share=share) if share else SplitPlan(by="none")
        elif on is not None:
            plan = SplitPlan(on=str(user_path(on).absolute()))
        else:
            return self
        return dataclasses.replace(self, split=plan)

    def with_architecture(self, name: str) -> TrainingConfig:
        """Return the configuration for another backbone of `BACKBONES`, with a new head."""
        model = dataclasses.replace(self.model, preset=None, architecture=name)
        return dataclasses.replace(self, model=model)

    def fitted(self, images: int, size: int | None) -> TrainingConfig:
        """Return the configuration with epochs and image size for these images and this network."""
        epochs = max(3, self.run.freeze_backbone_epochs + 1, min(8, round(320 / images)))
        run = dataclasses.replace(
            self.run,
            epochs=self.run.epochs or epochs,
            image_size=self.run.image_size or size or USUAL_SIZE,
        )
        return dataclasses.replace(self, run=run)

    def to_dict(self) -> dict[str, Any]:
        """Return the tables, with every default filled in."""
        return dataclasses.asdict(self)


def data_table(path: str | Path) -> dict[str, Any]:
    """Return the table [data] for a folder, or for a list if the name ends in .csv."""
    return {"csv" if str(path).lower().endswith(".csv") else "folder": str(path)}


def _table(name: str, table: object) -> Mapping[str, Any]:
    if not isinstance(table, Mapping):
        raise TrainingConfigError(f"[{name}] must be a table, got {table!r}.")
    return table


def _plan(kind: type, name: str, table: object) -> Any:
    values = _table(name, table)
    _known(f"[{name}]", values, kind, "key")
    hints = typing.get_type_hints(kind)
    return kind(**{key: _typed(name, key, value, hints[key]) for key, value in values.items()})


def _known(where: str, table: Mapping[str, Any], kind: type, what: str) -> None:
    names = [field.name for field in dataclasses.fields(kind)]
    for key in table:
        if key not in names:
            raise TrainingConfigError(
                f"{where} has an unknown {what} {key!r}; there are {', '.join(names)}."
            )


def _typed(table: str, key: str, value: object, hint: Any) -> Any:
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    kinds = tuple(typing.get_origin(kind) or kind for kind in kinds)
    if float in kinds and type(value) is int:
        value = float(value)
    if tuple in kinds and isinstance(value, list):
        value = tuple(value)
    # a bool is an int to isinstance
    if type(value) not in kinds:
        names = " or ".join(kind.__name__ for kind in kinds if kind is not types.NoneType)
        raise TrainingConfigError(f"[{table}] {key} must be of type {names}, got {value!r}.")
    return value

"""The configuration of a training run, from one TOML file."""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dolg_zoo._util.arguments import number, one_of, whole_number
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
"""Side of training images; search is at 256, since objects look larger in crops."""


@contextmanager
def _config_errors() -> Iterator[None]:
    """Turn the errors of an argument check into a TrainingConfigError."""
    try:
        yield
    except TrainingConfigError:
        raise
    except ValueError as error:
        raise TrainingConfigError(str(error)) from None


def _share_below_1(name: str, value: object) -> None:
    if number(name, value, 0, 1) == 1:
        raise TrainingConfigError(f"{name} must be below 1.")


@dataclasses.dataclass(frozen=True)
class ModelPlan:
    """The model to train: a preset, or an architecture with a new head.

    Attributes:
        preset: a name, hf://user/repo, or a folder; the default preset if there is no architecture
            either.
        architecture: a name of `dolg_zoo.BACKBONES`; None with a preset.
        backbone_weights: "imagenet", "random", or the address of weights of timm's, such as
            hf://timm/resnet50.a1_in1k; only with an architecture.
        settings: only with an architecture: fields of `DOLGConfig`, such as descriptor_dim, and
            image_converter, a table with the attributes of `ImageConverter`.
    """

    preset: str | None = None
    architecture: str | None = None
    backbone_weights: str = "imagenet"
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)

    @_config_errors()
    def __post_init__(self) -> None:
        if self.preset is not None and self.architecture is not None:
            raise TrainingConfigError(
                "[model] needs either preset or architecture, got"
                f" preset={self.preset!r} and architecture={self.architecture!r}."
            )
        if self.architecture is not None:
            one_of("[model] architecture", self.architecture, tuple(BACKBONES))
        if not self.backbone_weights.startswith("hf://"):
            one_of("[model] backbone_weights", self.backbone_weights, ("imagenet", "random"))
        if self.architecture is None and self.settings:
            raise TrainingConfigError("[model.settings] is for a new model; a preset has its own.")


@dataclasses.dataclass(frozen=True)
class SplitPlan:
    """The images for validation.

    Attributes:
        by: "class" takes whole classes, since a search meets objects that were not trained on;
            "image" takes a share of the images of each class; "none" takes nothing. None: "class"
            if there are at least four classes, else "image".
        share: the share of classes or images for validation, above 0 and below 1. None: a fifth,
            and of fewer than 30 classes up to a third, for six to validate on.
        classes: names of the classes for validation, instead of a share.
        on: a folder or a CSV list like that of [data] with other images for validation. All images
            of [data] are trained on then.
    """

    by: str | None = None
    share: float | None = None
    classes: tuple[Any, ...] = ()
    on: str | None = None

    @_config_errors()
    def __post_init__(self) -> None:
        if self.by is not None:
            one_of("[split] by", self.by, ("class", "image", "none"))
        if self.share is not None:
            number("[split] share", self.share, 0, 1, open_ends=True)
        if self.on is not None and (self.by is not None or self.share is not None or self.classes):
            raise TrainingConfigError(
                f"[split] on = {self.on!r} names the images for validation; leave by, share and"
                " classes out."
            )


@dataclasses.dataclass(frozen=True)
class HeadPlan:
    """The margin head.

    Attributes:
        name: a name of `dolg_zoo.layers.MARGIN_HEADS`.
        dynamic_margins: whether rare classes get larger margins; only for "subcenter_arcface".
        label_smoothing: share of the target probability that is spread over all classes, from 0
            to below 1.
        settings: arguments of the layer, such as scale and margin.
    """

    name: str = "arcface"
    dynamic_margins: bool = False
    label_smoothing: float = 0.05
    settings: dict[str, Any] = dataclasses.field(
        default_factory=lambda: {"scale": 24.0, "margin": 0.2}
    )

    @_config_errors()
    def __post_init__(self) -> None:
        one_of("[head] name", self.name, HEADS)
        _share_below_1("[head] label_smoothing", self.label_smoothing)
        if self.dynamic_margins and self.name != "subcenter_arcface":
            raise TrainingConfigError(
                f'[head] dynamic_margins needs name = "subcenter_arcface", got {self.name!r}.'
            )


@dataclasses.dataclass(frozen=True)
class OptimizerPlan:
    """The optimizer. The defaults are for fine-tuning a preset; docs/fine_tune.md has figures.

    Attributes:
        name: "sgd" (with Nesterov momentum) or "adamw".
        learning_rate: the maximum learning rate, after the warm-up; it then falls to 0 as a cosine.
        momentum: momentum of SGD, at least 0 and below 1.
        weight_decay: SGD adds weight_decay × weight to the gradient, as PyTorch does; AdamW decays
            the weight independently of the gradient.
        warmup_epochs: number of epochs in which the learning rate rises from 0; half of the run, if
            the run has no more epochs.
        backbone_rate: factor of the learning rate in the backbone. At a larger factor a network
            learns faster, and forgets more.
        layer_decay: further factor in the first layer of the backbone; it rises geometrically to 1
            in the last layer.
        head_rate: factor of the learning rate in the margin head, whose centers begin at random.
        local_rate: factor of the learning rate in the local branch. Above 1, the branch keeps up
            with a global vector that grows while the backbone is trained.
        clip_norm: maximum global gradient norm; 0 for none.
        accumulate: number of batches whose gradients are averaged for one step.
        ema: momentum of the exponential moving average of the weights, such as 0.999. The average
            is validated and saved. 0 for none.
        average_with_start: share of the weights that the run began with, from 0 to below 1, in the
            mean that is validated and saved. A network forgets less so. Of several shares, each is
            validated after every epoch; that nearest to one half is saved, unless another is
            clearly better. Without images for validation it is the one nearest to one half.
            Source: WiSE-FT, arXiv 2109.01903.
    """

    name: str = "adamw"
    learning_rate: float = 5e-4
    momentum: float = 0.9
    weight_decay: float = 0.01
    warmup_epochs: float = 0.2
    backbone_rate: float = 0.4
    layer_decay: float = 1.0
    head_rate: float = 10.0
    local_rate: float = 10.0
    clip_norm: float = 5.0
    accumulate: int = 1
    ema: float = 0.0
    average_with_start: float | tuple[float, ...] = (0.0, 0.25, 0.5, 0.75)

    @property
    def shares_of_start(self) -> tuple[float, ...]:
        """The values of `average_with_start`, those nearest to one half first."""
        shares = self.average_with_start
        shares = shares if isinstance(shares, tuple) else (shares,)
        return tuple(sorted(shares, key=lambda share: (abs(share - 0.5), -share)))

    @_config_errors()
    def __post_init__(self) -> None:
        one_of("[optimizer] name", self.name, ("sgd", "adamw"))
        number("[optimizer] learning_rate", self.learning_rate, 0, open_ends=True)
        number("[optimizer] momentum", self.momentum, 0, 1)
        for name in ("weight_decay", "warmup_epochs", "head_rate", "local_rate", "clip_norm"):
            number(f"[optimizer] {name}", getattr(self, name), 0)
        for name in ("backbone_rate", "layer_decay"):
            number(f"[optimizer] {name}", getattr(self, name), 0, 1)
        number("[optimizer] ema", self.ema, 0, 1)
        if not self.shares_of_start:
            raise TrainingConfigError("[optimizer] average_with_start needs a share, such as 0.")
        for share in self.shares_of_start:
            _share_below_1("[optimizer] average_with_start", share)
        whole_number("[optimizer] accumulate", self.accumulate, 1)


@dataclasses.dataclass(frozen=True)
class AugmentationPlan:
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
    area: tuple[float, float] = (0.25, 1.0)
    flip: bool = True
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.02
    cut_out: float = 0.0

    @_config_errors()
    def __post_init__(self) -> None:
        if not (
            len(self.area) == 2
            and all(type(value) in (int, float) for value in self.area)
            and 0 < self.area[0] <= self.area[1] <= 1
        ):
            raise TrainingConfigError(
                f"[augmentation] area must be two shares, 0 < least <= most <= 1, got {self.area}."
            )
        for name in ("brightness", "contrast", "saturation", "cut_out"):
            number(f"[augmentation] {name}", getattr(self, name), 0, 1)
        number("[augmentation] hue", self.hue, 0, 0.5)


@dataclasses.dataclass(frozen=True)
class RunPlan:
    """Length of the run, batches and precision.

    Attributes:
        epochs: number of passes over the training images. None: 3, and up to 8 of fewer than a
            hundred images.
        batch_size: images per step, of all workers together.
        image_size: height and width of training images in pixels. None: 224, or the size of a
            network that takes no other.
        seed: the seed of all random numbers.
        balanced: whether to draw all classes equally often, instead of all images.
        images_per_class: number of images of a class that come together in a batch; more than 1
            needs balanced = true, and must divide batch_size.
        precision: "float32", "mixed_bfloat16" or "mixed_float16".
        freeze_backbone_epochs: number of epochs at the beginning in which the backbone is frozen.
        backbone_batch_norm: "frozen" uses the moving averages of the backbone; "trained" uses the
            statistics of each batch, which needs large batches.
        checkpoint_minutes: minutes between checkpoints; each epoch also ends with one.
        early_stop_epochs: number of epochs without a better validation mAP after which the run
            ends; 0 for never.
        tensorboard: whether to write curves for TensorBoard.
    """

    epochs: int | None = None
    batch_size: int = 32
    image_size: int | None = None
    seed: int = 0
    balanced: bool = False
    images_per_class: int = 1
    precision: str = "float32"
    freeze_backbone_epochs: int = 0
    backbone_batch_norm: str = "frozen"
    checkpoint_minutes: float = 10.0
    early_stop_epochs: int = 0
    tensorboard: bool = False

    @_config_errors()
    def __post_init__(self) -> None:
        if self.epochs is not None:
            whole_number("[run] epochs", self.epochs, 1)
        for name in ("batch_size", "images_per_class"):
            whole_number(f"[run] {name}", getattr(self, name), 1)
        if self.images_per_class > 1 and not self.balanced:
            raise TrainingConfigError("[run] images_per_class needs balanced = true.")
        if self.batch_size % self.images_per_class:
            raise TrainingConfigError(
                f"[run] batch_size = {self.batch_size} must be a multiple of images_per_class,"
                f" {self.images_per_class}."
            )
        if self.image_size is not None:
            whole_number("[run] image_size", self.image_size, 32)
        for name in ("seed", "freeze_backbone_epochs", "early_stop_epochs"):
            whole_number(f"[run] {name}", getattr(self, name), 0)
        number("[run] checkpoint_minutes", self.checkpoint_minutes, 0)
        one_of("[run] precision", self.precision, ("float32", "mixed_bfloat16", "mixed_float16"))
        one_of("[run] backbone_batch_norm", self.backbone_batch_norm, ("frozen", "trained"))


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
        """Return the configuration that a TOML file's tables give."""
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
        wanted = " or ".join(kind.__name__ for kind in kinds if kind is not types.NoneType)
        raise TrainingConfigError(f"[{table}] {key} must be of type {wanted}, got {value!r}.")
    return value

"""All that a training run is told, from one TOML file."""

from __future__ import annotations

import dataclasses
import math
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dolg_zoo.backbones import BACKBONES
from dolg_zoo.errors import PublishError, TrainingConfigError
from dolg_zoo.layers import MARGIN_HEADS
from dolg_zoo.publishing.metadata import check_metadata
from dolg_zoo.training.checks import require_at_least, require_between, require_one_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclasses.dataclass(frozen=True)
class ModelPlan:
    """What is trained: a preset, or an architecture with a new head.

    Attributes:
        preset: a name, hf://user/repo, or a folder; None with an architecture.
        architecture: a name of `dolg_zoo.BACKBONES`; None with a preset.
        backbone_weights: "imagenet" or "random"; of an architecture.
        settings: of an architecture: fields of `DOLGConfig`, such as descriptor_dim, and
            image_converter, a table of the attributes of `ImageConverter`.
    """

    preset: str | None = None
    architecture: str | None = None
    backbone_weights: str = "imagenet"
    settings: dict = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if (self.preset is None) == (self.architecture is None):
            raise TrainingConfigError(
                "[model] needs either preset or architecture, got"
                f" preset={self.preset!r} and architecture={self.architecture!r}."
            )
        if self.architecture is not None:
            require_one_of("model", "architecture", self.architecture, tuple(BACKBONES))
        require_one_of("model", "backbone_weights", self.backbone_weights, ("imagenet", "random"))
        if self.preset and self.settings:
            raise TrainingConfigError(
                f"[model.settings] is for a new model; the preset {self.preset!r} has its own."
            )


@dataclasses.dataclass(frozen=True)
class SplitPlan:
    """What is kept back to validate on.

    Attributes:
        by: "class" keeps whole classes back, as search will meet things never seen; "image" a
            share of each class's images; "none" nothing.
        share: the share that is kept back, from above 0 to below 1.
        classes: names of the classes kept back, in place of a share of them.
    """

    by: str = "class"
    share: float = 0.1
    classes: tuple = ()

    def __post_init__(self):
        require_one_of("split", "by", self.by, ("class", "image", "none"))
        require_between("split", "share", self.share, 0, 1, open_ends=True)


@dataclasses.dataclass(frozen=True)
class HeadPlan:
    """The margin head.

    Attributes:
        name: a name of `dolg_zoo.layers.MARGIN_HEADS`.
        dynamic_margins: whether rare classes get larger margins; of "subcenter_arcface".
        settings: of the layer, such as scale and margin.
    """

    name: str = "subcenter_arcface"
    dynamic_margins: bool = False
    settings: dict = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        require_one_of("head", "name", self.name, tuple(MARGIN_HEADS))
        if self.dynamic_margins and self.name != "subcenter_arcface":
            raise TrainingConfigError(
                f'[head] dynamic_margins needs name = "subcenter_arcface", got {self.name!r}.'
            )


@dataclasses.dataclass(frozen=True)
class OptimizerPlan:
    """How steps are taken; the defaults are the official DOLG's but for the rate.

    Attributes:
        name: "sgd" (with Nesterov momentum) or "adamw".
        learning_rate: the highest rate, reached after the warm-up; falls as a cosine to 0.
        momentum: of SGD, from 0 to below 1.
        weight_decay: SGD adds it, times the weight, to the gradient, as PyTorch does; AdamW
            shrinks the weight, apart from the gradient.
        warmup_epochs: epochs in which the rate rises from 0.
        backbone_rate: what the rate is multiplied with in the backbone.
        layer_decay: what it is further multiplied with in the backbone's first layer; from there
            to the last layer it grows in equal ratios.
        clip_norm: the most that the gradient's length over all weights may be; 0 for no bound.
        accumulate: batches whose gradients are averaged for one step.
        ema: how much of itself the running mean of the weights keeps at each step, such as 0.999;
            validated and saved is the mean. 0 for no mean.
    """

    name: str = "sgd"
    learning_rate: float = 0.003
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warmup_epochs: float = 1.0
    backbone_rate: float = 0.1
    layer_decay: float = 1.0
    clip_norm: float = 5.0
    accumulate: int = 1
    ema: float = 0.0

    def __post_init__(self):
        require_one_of("optimizer", "name", self.name, ("sgd", "adamw"))
        require_between(
            "optimizer", "learning_rate", self.learning_rate, 0, math.inf, open_ends=True
        )
        require_between("optimizer", "momentum", self.momentum, 0, 1)
        for name in ("weight_decay", "warmup_epochs", "clip_norm"):
            require_between("optimizer", name, getattr(self, name), 0, math.inf)
        for name in ("backbone_rate", "layer_decay"):
            require_between("optimizer", name, getattr(self, name), 0, 1)
        require_between("optimizer", "ema", self.ema, 0, 1)
        require_at_least("optimizer", "accumulate", self.accumulate, 1)


@dataclasses.dataclass(frozen=True)
class AugmentationPlan:
    """How training images are altered, each anew in every epoch.

    Attributes:
        crop: whether a part of random size and shape is cut out.
        area: the smallest and largest share of the image that the part has.
        flip: whether half of the images are mirrored.
        brightness: by how much it varies, from 0 (not) to 1; `keras.layers.RandomColorJitter`.
        contrast: the same.
        saturation: the same.
        hue: the same, from 0 to 0.5.
        cut_out: the largest side of the box that is erased, as a share of the image's; 0 for none.
    """

    crop: bool = True
    area: tuple = (0.25, 1.0)
    flip: bool = True
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.02
    cut_out: float = 0.0

    def __post_init__(self):
        if not (
            len(self.area) == 2
            and all(type(value) in (int, float) for value in self.area)
            and 0 < self.area[0] <= self.area[1] <= 1
        ):
            raise TrainingConfigError(
                f"[augmentation] area must be two shares, 0 < least <= most <= 1, got {self.area}."
            )
        for name in ("brightness", "contrast", "saturation", "cut_out"):
            require_between("augmentation", name, getattr(self, name), 0, 1)
        require_between("augmentation", "hue", self.hue, 0, 0.5)


@dataclasses.dataclass(frozen=True)
class RunPlan:
    """How long and how large.

    Attributes:
        epochs: passes over the training images.
        batch_size: images a step, over all workers together.
        image_size: pixels, (image_size, image_size) to train on.
        seed: of all that is random.
        balanced: whether classes, not images, are drawn equally often.
        precision: "float32", "mixed_bfloat16" or "mixed_float16".
        freeze_backbone_epochs: epochs at the beginning in which only what is new learns.
        backbone_batch_norm: "frozen" keeps the means and variances that the backbone has;
            "trained" takes each batch's own, which needs large batches.
        checkpoint_minutes: after how many minutes the state is kept; at each epoch's end it is
            anyway.
        early_stop_epochs: epochs without a better validation mAP after which it ends; 0 for never.
        tensorboard: whether curves for TensorBoard are written.
    """

    epochs: int = 10
    batch_size: int = 32
    image_size: int = 224
    seed: int = 0
    balanced: bool = False
    precision: str = "float32"
    freeze_backbone_epochs: int = 0
    backbone_batch_norm: str = "frozen"
    checkpoint_minutes: float = 10.0
    early_stop_epochs: int = 0
    tensorboard: bool = False

    def __post_init__(self):
        for name in ("epochs", "batch_size"):
            require_at_least("run", name, getattr(self, name), 1)
        require_at_least("run", "image_size", self.image_size, 32)
        for name in ("seed", "freeze_backbone_epochs", "early_stop_epochs"):
            require_at_least("run", name, getattr(self, name), 0)
        require_between("run", "checkpoint_minutes", self.checkpoint_minutes, 0, math.inf)
        require_one_of(
            "run", "precision", self.precision, ("float32", "mixed_bfloat16", "mixed_float16")
        )
        require_one_of(
            "run", "backbone_batch_norm", self.backbone_batch_norm, ("frozen", "trained")
        )


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """All of a run. Each part is a table of the TOML file, its attributes the table's keys.

    Attributes:
        data: where the images are: what `dolg_zoo.training.data.load_examples` takes.
        model: what is trained.
        split: what is kept back to validate on.
        head: the margin head.
        optimizer: how steps are taken.
        augmentation: how images are altered.
        run: how long and how large.
        metadata: what the preset says of itself besides what is known of the run, under the keys
            that `dolg publish` takes, such as description and license.

    Raises:
        TrainingConfigError: if a value is out of its range; the message names table and key.
    """

    data: dict
    model: ModelPlan
    split: SplitPlan = dataclasses.field(default_factory=SplitPlan)
    head: HeadPlan = dataclasses.field(default_factory=HeadPlan)
    optimizer: OptimizerPlan = dataclasses.field(default_factory=OptimizerPlan)
    augmentation: AugmentationPlan = dataclasses.field(default_factory=AugmentationPlan)
    run: RunPlan = dataclasses.field(default_factory=RunPlan)
    metadata: dict = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if self.run.freeze_backbone_epochs >= self.run.epochs:
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
        """The configuration that a TOML file's tables give."""
        _known("the file", tables, cls, "table")
        for name in ("data", "model"):
            if not isinstance(tables.get(name), Mapping):
                raise TrainingConfigError(f"A table [{name}] is missing.")
        hints = typing.get_type_hints(cls)
        parts: dict[str, Any] = {
            name: dict(_table(name, table))
            if hints[name] is dict
            else _plan(hints[name], name, table)
            for name, table in tables.items()
        }
        return cls(**parts)

    @classmethod
    def from_toml(cls, path: str | Path) -> TrainingConfig:
        """The configuration in a file; paths of [data] are relative to the file's folder."""
        try:
            tables = tomllib.loads(Path(path).read_text("utf-8"))
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise TrainingConfigError(f"{path} is no TOML file: {error}") from error
        try:
            return cls.from_dict(tables)
        except TrainingConfigError as error:
            raise TrainingConfigError(f"{path}: {error}") from error

    def with_architecture(self, name: str) -> TrainingConfig:
        """The same run of another backbone, a name of `dolg_zoo.BACKBONES`, with a new head."""
        model = dataclasses.replace(self.model, preset=None, architecture=name)
        return dataclasses.replace(self, model=model)

    def to_dict(self) -> dict[str, Any]:
        """The tables, with every default filled in."""
        return dataclasses.asdict(self)


def _table(name: str, table: Any) -> Mapping[str, Any]:
    if not isinstance(table, Mapping):
        raise TrainingConfigError(f"[{name}] must be a table, got {table!r}.")
    return table


def _plan(kind: type, name: str, table: Any) -> Any:
    _known(f"[{name}]", _table(name, table), kind, "key")
    hints = typing.get_type_hints(kind)
    return kind(**{key: _typed(name, key, value, hints[key]) for key, value in table.items()})


def _known(where: str, table: Mapping[str, Any], kind: type, what: str) -> None:
    names = [field.name for field in dataclasses.fields(kind)]
    for key in table:
        if key not in names:
            raise TrainingConfigError(
                f"{where} has an unknown {what} {key!r}; there are {', '.join(names)}."
            )


def _typed(table: str, key: str, value: Any, hint: Any) -> Any:
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if float in kinds and type(value) is int:
        value = float(value)
    if tuple in kinds and isinstance(value, list):
        value = tuple(value)
    # a bool is an int to isinstance
    if type(value) not in kinds:
        wanted = " or ".join(kind.__name__ for kind in kinds if kind is not types.NoneType)
        raise TrainingConfigError(f"[{table}] {key} must be of type {wanted}, got {value!r}.")
    return value

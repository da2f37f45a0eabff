"""From a configuration to the objects of its run."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import keras
import numpy as np

from dolg_zoo._util.modules import is_installed
from dolg_zoo.embedders.constructors import constructor
from dolg_zoo.embedders.dolg import DOLG
from dolg_zoo.errors import TrainingConfigError
from dolg_zoo.layers import dynamic_margins
from dolg_zoo.models import MarginClassifier
from dolg_zoo.models.dtype_policy import dtype_policy
from dolg_zoo.preprocessing import ImageConverter
from dolg_zoo.training.augmentation import build_augmentation
from dolg_zoo.training.config import USUAL_SIZE, TrainingConfig
from dolg_zoo.training.data import Batches, Examples, load_split, steps_per_epoch
from dolg_zoo.training.distribution import (
    DistributedBatches,
    choose_strategy,
    share_batch_statistics,
    worker_count,
    worker_rank,
)
from dolg_zoo.training.loop import Loop
from dolg_zoo.training.losses import SmoothedCrossentropy
from dolg_zoo.training.optimizers import WeightAverage, build_optimizer


class Run:
    """The images, model, optimizer and loop of a run before its first step."""

    def __init__(
        self, config: TrainingConfig, relative_to: str | Path = ".", start: DOLG | None = None
    ) -> None:
        if config.run.tensorboard and not is_installed("tensorboard"):
            raise TrainingConfigError(
                "[run] tensorboard needs the package tensorboard: pip install tensorboard."
            )
        self.training, self.validation = load_split(config, relative_to)
        self.workers, self.rank = worker_count(), worker_rank()
        plan = config.run
        if plan.batch_size % self.workers:
            raise TrainingConfigError(
                f"[run] batch_size = {plan.batch_size} must be a multiple of the number of workers,"
                f" {self.workers}."
            )
        self.steps_per_epoch = steps_per_epoch(len(self.training), plan.batch_size)
        self.strategy = choose_strategy()
        keras.utils.set_random_seed(plan.seed)
        with dtype_policy(plan.precision), self.strategy.scope():
            self.model = build_model(config, start)
            size = self.model.net.input_shape[1]
            self.config = config = config.fitted(len(self.training), size)
            self.epochs, self.image_size = config.run.epochs or 0, config.run.image_size or 0
            self.start_id = self.model.model_id
            keras.utils.set_random_seed(plan.seed)  # again: building may draw random numbers
            self.classifier = build_classifier(config, self.model, self.training)
            self.augmentation = build_augmentation(config.augmentation, plan.seed)
            self._compile()
            self.average = WeightAverage(self.classifier)
        self.loop = Loop(self.classifier, self.augmentation, self.strategy)

    def _compile(self) -> None:
        plan, replicas = self.config.run, self.strategy.num_replicas_in_sync
        if replicas > 1:
            share_batch_statistics(self.classifier)
        optimizer = build_optimizer(
            self.config.optimizer,
            self.classifier,
            self.steps_per_epoch,
            self.epochs,
            plan.precision,
            replicas,
        )
        self.classifier.compile(
            optimizer,
            SmoothedCrossentropy(self.config.head.label_smoothing),
            metrics=["accuracy"],
            auto_scale_loss=False,
        )
        # metrics create their variables at first use, but restoring a checkpoint needs them
        self.augmentation.build((None, self.image_size, self.image_size, 3))
        labels = np.zeros(1, "int32")
        logits = np.zeros((1, self.training.num_classes), "float32")
        self.classifier.compute_loss(None, labels, logits, training=False)
        self.classifier.compute_metrics(None, labels, logits)
        self.classifier.reset_metrics()

    def batches(self, first: int, last: int) -> Batches:
        """Return this worker's batches from one step to another."""
        plan, augmentation = self.config.run, self.config.augmentation
        return Batches(
            self.training,
            self.image_size,
            plan.batch_size,
            plan.seed,
            first_step=first,
            last_step=last,
            area=augmentation.area if augmentation.crop else None,
            interpolation=self.model.image_converter.interpolation,
            balanced=plan.balanced,
            images_per_class=plan.images_per_class,
            rank=self.rank,
            workers=self.workers,
        )

    def distributed(self, batches: Batches) -> DistributedBatches:
        """Return the batches in the form that the loop takes."""
        plan = self.config.run
        return DistributedBatches(
            self.strategy, batches, self.image_size, plan.batch_size // self.workers
        )

    def thaw(self, epoch: int) -> None:
        """Set which variables train in an epoch, counted from 0."""
        plan = self.config.run
        self.loop.set_backbone_trainable(
            epoch >= plan.freeze_backbone_epochs, plan.backbone_batch_norm == "trained"
        )

    def other_variables(self) -> list[keras.Variable]:
        """Return the variables that a step changes besides the weights and the optimizer."""
        variables = [
            variable
            for model in (self.augmentation, self.classifier)
            for variable in model.variables
            if variable.name == "seed_generator_state"
        ]
        if self.strategy.num_replicas_in_sync == 1:
            # with several replicas, reading them would wait for other workers; without them only
            # the mean loss of an interrupted epoch is inexact
            variables += self.classifier.metrics_variables
        return variables

    def settings(self) -> dict[str, Any]:
        """Return the settings that a continued run must share, without the paths of images."""
        tables = self.config.to_dict()
        for name in ("data", "metadata"):
            del tables[name]
        for name in ("checkpoint_minutes", "tensorboard"):
            del tables["run"][name]
        parts = {"training": self.training, "validation": self.validation}
        del tables["model"]["preset"]  # the model's id replaces its name
        tables["start"] = self.start_id
        return tables | {"images": {name: _fingerprint(part) for name, part in parts.items()}}


def build_model(config: TrainingConfig, start: DOLG | None = None) -> DOLG:
    """Return the model before training: a copy of `start`, or the model of [model]."""
    plan, size = config.model, config.run.image_size or USUAL_SIZE
    if start is not None:
        model = DOLG.from_config(start.get_config())
        model.set_weights(start.get_weights())
    elif plan.architecture is None:
        model = DOLG.from_preset(plan.preset)
    else:
        settings = dict(plan.settings)
        converter = settings.pop("image_converter", {"size": size})
        try:
            model = constructor(str(plan.architecture))(
                backbone_weights=None
                if plan.backbone_weights == "random"
                else plan.backbone_weights,
                image_converter=ImageConverter.from_config(converter),
                **settings,
            )
        except (TypeError, ValueError) as error:
            raise TrainingConfigError(f"[model.settings]: {error}") from error
    fixed = model.net.input_shape[1:3]
    if config.run.image_size and fixed not in ((None, None), (size, size)):
        raise TrainingConfigError(
            f"[run] image_size = {size} does not fit the model, which takes {fixed[0]}×{fixed[1]}"
            " pixels only."
        )
    return model


def build_classifier(config: TrainingConfig, model: DOLG, training: Examples) -> MarginClassifier:
    """Return the model with a margin head for the classes of the data."""
    try:
        classifier = model.with_margin_head(
            training.num_classes, config.head.name, **config.head.settings
        )
    except (TypeError, ValueError) as error:
        raise TrainingConfigError(f"[head.settings]: {error}") from error
    if config.head.dynamic_margins:
        classifier.head.set_margins(dynamic_margins(training.counts))
    return classifier


def _fingerprint(examples: Examples) -> dict[str, Any]:
    digest = hashlib.sha256(examples.labels.tobytes())
    digest.update("\0".join(examples.class_names).encode("utf-8", "surrogateescape"))
    return {"count": len(examples), "sha256": digest.hexdigest()}

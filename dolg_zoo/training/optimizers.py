"""Keras's SGD and AdamW, with a rate for each variable and the official weight decay."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from dolg_zoo._util.types import Tensor
from dolg_zoo.errors import TrainingConfigError
from dolg_zoo.models import MarginClassifier
from dolg_zoo.training.config import OptimizerPlan

_Optimizer: Any = object  # for the type checker: stands for any Keras optimizer


class _Rated(_Optimizer):
    """Base of both optimizers: `rate_of` gives the factor of a variable's learning rate."""

    def __init__(
        self, *args: Any, decay: float, rate_of: Callable[[keras.Variable], float], **kwargs: Any
    ) -> None:
        super().__init__(*args, weight_decay=None, **kwargs)
        self.decay = decay
        self.rate_of = rate_of
        self._hooks_called: set[str] = set()

    def build(self, variables: Sequence[keras.Variable]) -> None:
        super().build(variables)
        self.factors = [self.rate_of(variable) for variable in variables]

    def factor(self, variable: keras.Variable) -> float:
        return self.factors[self._get_variable_index(variable)]

    # Keras clips the gradient of each replica before it sums them, so two replicas would train
    # differently from one with the joint batch. Here the sum is clipped. These two methods are
    # private to Keras, so each step checks that Keras called them.

    def apply(self, grads: Sequence[Tensor], trainable_variables: Any = None) -> None:
        self._hooks_called.clear()
        super().apply(grads, trainable_variables)

    def _clip_gradients(self, grads: Sequence[Tensor]) -> Sequence[Tensor]:
        self._hooks_called.add("_clip_gradients")
        return grads

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> list[tuple[Tensor, keras.Variable]]:
        self._hooks_called.add("_all_reduce_sum_gradients")
        grads, variables = zip(*super()._all_reduce_sum_gradients(grads_and_vars), strict=True)
        return list(zip(super()._clip_gradients(grads), variables, strict=True))

    def update_step(self, gradient: Tensor, variable: keras.Variable, learning_rate: Any) -> None:
        """Update one variable; raise RuntimeError if Keras skipped clipping and summing."""
        for hook in ("_clip_gradients", "_all_reduce_sum_gradients"):
            if hook not in self._hooks_called:
                raise RuntimeError(
                    f"Keras {keras.__version__} no longer calls Optimizer.{hook}, so gradients"
                    " would be clipped wrongly. Install dolg-zoo again with pip, which installs a"
                    " compatible version of Keras."
                )
        super().update_step(gradient, variable, learning_rate)


class RatedSGD(_Rated, keras.optimizers.SGD):
    """SGD whose weight decay is part of the gradient, as in PyTorch and the official code."""

    def update_step(self, gradient: Tensor, variable: keras.Variable, learning_rate: Any) -> None:
        """Update one variable."""
        rate = learning_rate * self.factor(variable)
        super().update_step(gradient + self.decay * variable, variable, rate)


class RatedAdamW(_Rated, keras.optimizers.Adam):
    """Adam whose weight decay is not part of the gradient. Source: arXiv 1711.05101."""

    def update_step(self, gradient: Tensor, variable: keras.Variable, learning_rate: Any) -> None:
        """Update one variable."""
        rate = learning_rate * self.factor(variable)
        self.assign_sub(variable, rate * self.decay * variable)
        super().update_step(gradient, variable, rate)


def build_optimizer(
    plan: OptimizerPlan,
    classifier: MarginClassifier,
    steps_per_epoch: int,
    epochs: int,
    precision: str = "float32",
    workers: int = 1,
) -> keras.optimizers.Optimizer:
    """Return the optimizer of a run, built for every variable that may ever be trained."""
    # the rate rises linearly in the warm-up, then falls as a cosine to 0 after the last step
    if plan.accumulate > 1 and workers > 1:
        raise TrainingConfigError(
            f"[optimizer] accumulate = {plan.accumulate} works with one worker only, and there"
            f" are {workers}; use a larger [run] batch_size."
        )
    steps = epochs * steps_per_epoch
    warmup = round(plan.warmup_epochs * steps_per_epoch)
    if warmup >= steps:  # a run must not end within its warm-up
        warmup = steps // 2
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else plan.learning_rate,
        decay_steps=steps - warmup,
        warmup_target=plan.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    common = {
        "learning_rate": schedule,
        "decay": plan.weight_decay,
        "rate_of": layer_rates(plan, classifier),
        "global_clipnorm": plan.clip_norm or None,
        "gradient_accumulation_steps": plan.accumulate if plan.accumulate > 1 else None,
        "use_ema": plan.ema > 0,
        "ema_momentum": plan.ema or 0.99,
        "ema_overwrite_frequency": None,
    }
    if plan.name == "sgd":
        optimizer = RatedSGD(momentum=float(plan.momentum), nesterov=plan.momentum > 0, **common)
    else:
        optimizer = RatedAdamW(**common)
    if precision == "mixed_float16":  # without scaling, small gradients would become 0
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(classifier.trainable_variables)
    return optimizer


def last_rate(optimizer: keras.optimizers.Optimizer) -> float:
    """Return the learning rate of the last step taken; after a run, the next would be 0."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    steps = int(np.asarray(optimizer._iterations))  # with several workers the variable is mirrored
    return float(optimizer._learning_rate(max(0, steps - 1)))


def layer_rates(
    plan: OptimizerPlan, classifier: MarginClassifier
) -> Callable[[keras.Variable], float]:
    """Return the factor of each variable's learning rate by part of the network, else 1."""
    net = classifier.model.net
    layers = [layer for layer in net.backbone.layers if layer.trainable_variables]
    factors = {
        id(variable): plan.backbone_rate * plan.layer_decay ** (1 - depth / max(1, len(layers) - 1))
        for depth, layer in enumerate(layers)
        for variable in layer.trainable_variables
    }
    for layer, rate in (
        (classifier.head, plan.head_rate),
        (net.get_layer("local_branch"), plan.local_rate),
    ):
        factors |= {id(variable): rate for variable in layer.trainable_variables}
    return lambda variable: factors.get(id(variable), 1.0)


class WeightAverage:
    """The mean of weights that is validated and saved instead of the last weights."""

    # The optimizer's moving average, if there is one, averaged with the weights before training,
    # except in the margin head. WiSE-FT, arXiv 2109.01903.

    def __init__(self, classifier: MarginClassifier) -> None:
        self._classifier = classifier
        self._start = _values(classifier.model.weights)

    @contextmanager
    def used(self, share_of_start: float) -> Iterator[None]:
        """Give the classifier the mean as its weights inside the `with` block."""
        with self._moving_average():
            weights = self._classifier.model.weights
            trained = _values(weights)
            try:
                for weight, first, last in zip(weights, self._start, trained, strict=True):
                    if first.dtype.kind == "f":
                        weight.assign(share_of_start * first + (1 - share_of_start) * last)
                yield
            finally:
                for weight, last in zip(weights, trained, strict=True):
                    weight.assign(last)

    @contextmanager
    def _moving_average(self) -> Iterator[None]:
        optimizer: Any = self._classifier.optimizer
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        if optimizer is None or not optimizer.use_ema:
            yield
            return
        swap = keras.callbacks.SwapEMAWeights()
        swap.set_model(self._classifier)
        swap.on_test_begin()
        try:
            yield
        finally:
            swap.on_test_end()


def _values(variables: list[keras.Variable]) -> list[np.ndarray]:
    return [np.asarray(variable).copy() for variable in variables]

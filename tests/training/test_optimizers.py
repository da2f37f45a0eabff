import keras
import numpy as np
import pytest

from dolg_zoo import DOLG, DOLGConfig, DOLGNet, ImageConverter
from dolg_zoo.training.config import OptimizerPlan, TrainingConfigError
from dolg_zoo.training.optimizers import WeightAverage, build_optimizer, last_rate

# The optimizers compute in float32, the expectations are in float64: a step is off by 1e-7 of the
# weight, a few steps by 1e-6. Adam's root and quotient multiply that; its bound is 1e-4. A wrong
# momentum or decay shows at 1e-2.
STEPS, EPOCHS = 10, 4


@pytest.fixture(scope="module")
def classifier():
    image = keras.Input((32, 32, 3))
    local = keras.layers.Conv2D(4, 3, strides=4, name="first")(image)
    top = keras.layers.Conv2D(4, 3, strides=2, name="second")(local)
    last = keras.layers.Conv2D(6, 3, name="third")(top)
    config = DOLGConfig(input_shape=(32, 32, 3), dilation_rates=(), hidden_dim=5, descriptor_dim=4)
    net = DOLGNet(keras.Model(image, [local, last]), config=config)
    model = DOLG(net, ImageConverter(size=(32, 32), mode="squash"))
    return model.with_margin_head(3, head="arcface")


def built(classifier, **plan):
    return build_optimizer(OptimizerPlan(**plan), classifier, STEPS, EPOCHS)


# A rate of 0.3 in float32, with a cosine that processors approximate, is off by 0.3 * 8 * 2^-24,
# which is 1.4e-7. A step later shows at 1e-3.
RATE = 1e-6


def official_rate(step, highest, warmup):
    """Linear to the highest rate, then half a cosine to 0."""
    if step < warmup:
        return highest * step / warmup
    return highest * (1 + np.cos(np.pi * (step - warmup) / (STEPS * EPOCHS - warmup))) / 2


@pytest.mark.parametrize("warmup_epochs", [0, 1, 2.5])
def test_the_rate_rises_and_falls_as_a_cosine(classifier, warmup_epochs):
    schedule = built(classifier, learning_rate=0.3, warmup_epochs=warmup_epochs)._learning_rate
    found = [float(schedule(step)) for step in range(STEPS * EPOCHS + 1)]
    warmup = round(STEPS * warmup_epochs)
    expected = [official_rate(step, 0.3, warmup) for step in range(STEPS * EPOCHS + 1)]
    np.testing.assert_allclose(found, expected, atol=RATE)


@pytest.mark.parametrize("warmup_epochs", [1, 7])
def test_a_warm_up_as_long_as_the_run_takes_half_of_it(classifier, warmup_epochs):
    plan = OptimizerPlan(learning_rate=0.3, warmup_epochs=warmup_epochs)
    optimizer = build_optimizer(plan, classifier, steps_per_epoch=8, epochs=1)
    found = [float(optimizer._learning_rate(step)) for step in range(9)]
    rising, falling = [0, 0.25, 0.5, 0.75], (1 + np.cos(np.pi * np.arange(5) / 4)) / 2
    np.testing.assert_allclose(found, 0.3 * np.array([*rising, *falling]), atol=RATE)


def test_the_rate_that_is_told_is_that_of_the_last_step(classifier):
    optimizer = built(classifier, learning_rate=0.3, warmup_epochs=0)
    optimizer.iterations.assign(STEPS * EPOCHS)
    assert last_rate(optimizer) == pytest.approx(
        official_rate(STEPS * EPOCHS - 1, 0.3, 0), abs=RATE
    )
    assert last_rate(optimizer) > 0


def steps_by(optimizer, variables, gradients):
    """The first variable's course under these gradients; all others' gradients are 0."""
    found = []
    for gradient in gradients:
        zeros = [keras.ops.zeros_like(v) for v in variables[1:]]
        optimizer.apply([keras.ops.full(variables[0].shape, gradient), *zeros], variables)
        found.append(float(np.ravel(variables[0])[0]))
    return found


def test_sgd_decays_weights_in_the_gradient_with_nesterov_momentum(classifier):
    plan = {"learning_rate": 0.1, "warmup_epochs": 0, "weight_decay": 0.2, "clip_norm": 0}
    optimizer = built(classifier, name="sgd", **plan, backbone_rate=0.5)
    variables = classifier.trainable_variables
    variables[0].assign(keras.ops.ones_like(variables[0]))
    weight, velocity, expected = 1.0, 0.0, []
    for step, gradient in enumerate((0.3, -0.1, 0.2)):
        rate = 0.5 * official_rate(step, 0.1, 0)  # the backbone's first layer
        total = gradient + 0.2 * weight
        velocity = 0.9 * velocity - rate * total
        weight += 0.9 * velocity - rate * total
        expected.append(weight)
    np.testing.assert_allclose(
        steps_by(optimizer, variables, (0.3, -0.1, 0.2)), expected, rtol=1e-5
    )


def test_adamw_decays_weights_apart_from_the_gradient(classifier):
    plan = {"learning_rate": 0.1, "warmup_epochs": 0, "weight_decay": 0.2, "clip_norm": 0}
    optimizer = built(classifier, name="adamw", **plan, backbone_rate=0.5)
    variables = classifier.trainable_variables
    variables[0].assign(keras.ops.ones_like(variables[0]))
    weight, mean, square, expected = 1.0, 0.0, 0.0, []
    for step, gradient in enumerate((0.3, -0.1, 0.2)):
        rate = 0.5 * official_rate(step, 0.1, 0)
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        unbiased = mean / (1 - 0.9 ** (step + 1))
        weight -= rate * 0.2 * weight
        weight -= rate * unbiased / (np.sqrt(square / (1 - 0.999 ** (step + 1))) + 1e-7)
        expected.append(weight)
    np.testing.assert_allclose(
        steps_by(optimizer, variables, (0.3, -0.1, 0.2)), expected, rtol=1e-4
    )


def test_rates_grow_through_the_backbone_and_each_part_of_the_head_has_its_own(classifier):
    rates = {"head_rate": 10, "local_rate": 3}
    optimizer = built(classifier, backbone_rate=0.4, layer_decay=0.25, **rates)
    factors = {
        variable.path.split("/")[-2]: factor
        for variable, factor in zip(classifier.trainable_variables, optimizer.factors, strict=True)
    }
    assert factors["first"] == pytest.approx(0.1)
    assert factors["second"] == pytest.approx(0.2)
    assert factors["third"] == pytest.approx(0.4)
    assert factors["descriptor"] == factors["global_projection"] == 1
    assert factors["margin_head"] == 10
    assert factors["conv"] == factors["bn"] == factors["attention_conv"] == 3  # local branch


def test_within_moving_average_the_weights_are_the_average(classifier):
    optimizer = built(
        classifier, ema=0.5, warmup_epochs=0, learning_rate=0.1, momentum=0, weight_decay=0
    )
    classifier.compile(optimizer, "mse")
    variables = classifier.trainable_variables
    variables[0].assign(keras.ops.ones_like(variables[0]))
    average = None
    for gradient in (0.2, 0.2, 0.2):
        expected = steps_by(optimizer, variables, [gradient])[0]
        average = expected if average is None else 0.5 * average + 0.5 * expected
    with WeightAverage(classifier).used(0.0):
        assert np.ravel(variables[0])[0] == pytest.approx(average, rel=1e-5)
    assert np.ravel(variables[0])[0] == pytest.approx(expected, rel=1e-6)


def test_the_average_with_the_start_is_of_the_network_alone(classifier):
    classifier.compile(built(classifier), "mse")
    average = WeightAverage(classifier)
    kernel, centers = classifier.model.weights[0], classifier.head.trainable_variables[0]
    start, first = kernel.numpy(), centers.numpy()
    try:
        kernel.assign(start + 4)
        centers.assign(first + 4)
        with average.used(0.25):
            np.testing.assert_allclose(kernel.numpy(), start + 3, rtol=1e-6)
            np.testing.assert_allclose(centers.numpy(), first + 4, rtol=1e-6)
        np.testing.assert_allclose(kernel.numpy(), start + 4, rtol=1e-6)
    finally:
        kernel.assign(start)
        centers.assign(first)


def test_accumulation_with_several_workers_is_refused(classifier):
    with pytest.raises(TrainingConfigError, match="accumulate = 2 works with one worker only"):
        build_optimizer(OptimizerPlan(accumulate=2), classifier, STEPS, EPOCHS, workers=2)


@pytest.mark.parametrize("hook", ["_clip_gradients", "_all_reduce_sum_gradients"])
def test_a_keras_that_calls_a_hook_no_more_is_an_error(classifier, hook, monkeypatch):
    optimizer = built(classifier, clip_norm=1.0)
    kind = type(optimizer)
    monkeypatch.setattr(kind.__mro__[1], hook, getattr(keras.optimizers.Optimizer, hook))
    variables = classifier.trainable_variables
    before = keras.ops.convert_to_numpy(variables[0])
    with pytest.raises(RuntimeError, match=rf"no longer calls Optimizer\.{hook}"):
        steps_by(optimizer, variables, [0.1])
    np.testing.assert_array_equal(variables[0], before)

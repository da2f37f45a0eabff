import keras
import numpy as np
import pytest

from dolg_zoo.layers import GeneralizedMeanPooling2D
from dolg_zoo.models import DOLGConfig


def gem(x, p, epsilon=1e-6):
    x = np.maximum(x.astype(np.float64), epsilon)
    return np.mean(x**p, axis=(1, 2)) ** (1 / p)


@pytest.mark.parametrize("p", [1.0, 2.5, 3.0, 10.0])
@pytest.mark.parametrize("power", ["shared", "channel", "fixed"])
def test_equals_the_formula(rng, p, power):
    x = rng.standard_normal((2, 5, 7, 4)).astype("float32")
    assert np.allclose(GeneralizedMeanPooling2D(p, power)(x), gem(x, p), rtol=1e-5)


def test_each_channel_has_its_own_power(rng):
    x = rng.uniform(0, 3, (2, 4, 6, 3)).astype("float32")
    layer = GeneralizedMeanPooling2D(power="channel")
    layer.build(x.shape)
    layer.learned_p.assign([1.0, 3.0, 7.0])
    assert np.allclose(layer(x), gem(x, np.array([1.0, 3.0, 7.0])), rtol=1e-5)


@pytest.mark.parametrize(
    ("power", "shapes"), [("shared", [()]), ("channel", [(6,)]), ("fixed", [])]
)
def test_learns_as_many_powers_as_it_says(power, shapes):
    layer = GeneralizedMeanPooling2D(power=power)
    layer.build((None, None, None, 6))
    assert [tuple(w.shape) for w in layer.trainable_weights] == shapes


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "mixed_float16", "mixed_bfloat16"])
def test_half_precision_neither_overflows_nor_underflows(dtype):
    # 300³ is beyond float16, and (1e-6)³ below it
    x = np.full((1, 16, 16, 2), 300.0, "float32")
    x[..., 1] = 0
    pooled = np.asarray(GeneralizedMeanPooling2D(dtype=dtype)(x), "float32")
    assert np.allclose(pooled, [[300.0, 1e-6]], rtol=1e-2, atol=1e-7)


def test_a_large_power_neither_overflows_nor_underflows():
    x = np.array([1e-4, 1e4], "float32").reshape(1, 1, 2, 1)
    expected = 1e4 * 0.5 ** (1 / 100)
    assert np.allclose(GeneralizedMeanPooling2D(100.0)(x), expected, rtol=1e-5)


def test_gradients_are_those_of_the_formula(rng):
    tf = pytest.importorskip("tensorflow")
    x = rng.uniform(0.1, 2, (1, 3, 2, 2))
    layer = GeneralizedMeanPooling2D(2.7, dtype="float64")
    layer.build(x.shape)
    with tf.GradientTape() as tape:
        inputs = tf.constant(x)
        tape.watch(inputs)
        total = tf.reduce_sum(layer(inputs))
    by_x, by_p = tape.gradient(total, [inputs, layer.learned_p.value])
    p, pooled = 2.7, gem(x, 2.7)[:, None, None]
    assert np.allclose(by_x, x ** (p - 1) * pooled ** (1 - p) / 6, rtol=1e-8)
    step = 1e-6
    slope = (gem(x, p + step).sum() - gem(x, p - step).sum()) / (2 * step)
    assert np.allclose(by_p, slope, rtol=1e-6)


def test_takes_maps_of_unknown_size(rng):
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, GeneralizedMeanPooling2D()(inputs))
    for shape in [(1, 4, 9, 3), (2, 7, 3, 3)]:
        x = rng.uniform(0, 1, shape).astype("float32")
        assert np.allclose(model(x), gem(x, 3.0), rtol=1e-5)


def test_survives_saving(reloaded, rng):
    model, copy = reloaded(GeneralizedMeanPooling2D(2.0, "channel", 1e-3), (None, None, 3))
    x = rng.standard_normal((1, 3, 5, 3)).astype("float32")
    assert np.array_equal(model(x), copy(x))
    assert copy.layers[-1].epsilon == 1e-3


@pytest.mark.parametrize(
    "wrong",
    [
        {"p": 0},
        {"p": -1},
        {"p": "3"},
        {"p": float("nan")},
        {"epsilon": 0},
        {"epsilon": None},
        {"power": "learned"},
    ],
    ids=str,
)
def test_says_which_argument_is_wrong(wrong):
    with pytest.raises(ValueError, match=repr(next(iter(wrong.values())))):
        GeneralizedMeanPooling2D(**wrong)


def test_its_defaults_are_those_of_a_configuration():
    """`DOLGConfig` is free of Keras, so it cannot take them from the layer."""
    layer, config = GeneralizedMeanPooling2D(), DOLGConfig()
    assert (layer.p, layer.power) == (config.gem_p, config.gem_power)
    assert layer.epsilon == config.gem_epsilon

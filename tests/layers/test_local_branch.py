import keras
import numpy as np
import pytest
from bounds import relative_error

from dolg_zoo.layers import DOLGLocalBranch


def randomise(layer, rng):
    for weight in layer.weights:
        positive = weight.path.endswith(("variance", "gamma"))
        draw = rng.uniform(0.5, 1.5, weight.shape) if positive else rng.normal(size=weight.shape)
        weight.assign(draw)


def expected_map(layer, x):
    """The branch without MultiAtrous, written out in float64."""
    weights = {w.path.split("/", 1)[1]: np.asarray(w, np.float64) for w in layer.weights}
    x = x @ weights["conv/kernel"][0, 0] + weights.get("conv/bias", 0)
    deviation = np.sqrt(weights["bn/moving_variance"] + layer.bn_epsilon)
    x = (x - weights["bn/moving_mean"]) / deviation * weights["bn/gamma"] + weights["bn/beta"]
    attention = np.maximum(x, 0) @ weights["attention_conv/kernel"][0, 0]
    attention = np.log1p(np.exp(attention + weights["attention_conv/bias"]))
    return attention * x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.parametrize("attention_channels", [1, 6])
@pytest.mark.parametrize("use_bias", [True, False])
def test_equals_the_formula(rng, attention_channels, use_bias):
    x = rng.standard_normal((2, 3, 5, 4)).astype("float32")
    layer = DOLGLocalBranch(
        filters=6, dilation_rates=(), use_bias=use_bias, attention_channels=attention_channels
    )
    layer.build(x.shape)
    randomise(layer, rng)
    assert np.allclose(layer(x), expected_map(layer, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("attention_channels", [1, 8])
@pytest.mark.parametrize("dilation_rates", [(), (1, 2)])
def test_pooled_is_the_mean_of_the_map(rng, attention_channels, dilation_rates):
    arguments = {
        "filters": 8,
        "dilation_rates": dilation_rates,
        "atrous_filters": 3,
        "attention_channels": attention_channels,
    }
    x = rng.standard_normal((2, 7, 4, 5)).astype("float32")
    whole, pooled = DOLGLocalBranch(**arguments), DOLGLocalBranch(**arguments, pool=True)
    whole.build(x.shape)
    pooled.build(x.shape)
    randomise(whole, rng)
    pooled.set_weights(whole.get_weights())
    assert np.allclose(pooled(x), np.mean(whole(x), axis=(1, 2)), rtol=1e-5, atol=1e-5)


def test_each_place_is_normalised_by_itself(rng):
    # the seed normalises over the whole batch, so one image's descriptor depends on the others
    x = rng.standard_normal((3, 4, 4, 5)).astype("float32")
    layer = DOLGLocalBranch(filters=8, dilation_rates=(1,), atrous_filters=4)
    together = np.asarray(layer(x))
    assert np.allclose(together[:1], layer(x[:1]), rtol=1e-5, atol=1e-5)
    attention = np.linalg.norm(together, axis=-1)
    assert attention.min() > 0.05  # softplus(0) is 0.69, and no division by the batch's norm


def test_a_place_of_zeros_stays_finite():
    layer = DOLGLocalBranch(filters=8, dilation_rates=())
    assert np.array_equal(layer(np.zeros((1, 2, 2, 4), "float32")), np.zeros((1, 2, 2, 8)))


def test_large_attention_does_not_overflow(rng):
    layer = DOLGLocalBranch(filters=2, dilation_rates=(), dtype="float32")
    x = rng.uniform(1, 2, (1, 2, 2, 2)).astype("float32")
    layer.build(x.shape)
    layer.attention_conv.bias.assign([500.0])  # e^89 is beyond float32
    attention = np.linalg.norm(layer(x), axis=-1)
    assert np.isfinite(attention).all() and (attention > 490).all()


@pytest.mark.parametrize(
    "dtype",
    [
        "float16",
        "mixed_float16",
        pytest.param("bfloat16", marks=pytest.mark.bfloat16),
        pytest.param("mixed_bfloat16", marks=pytest.mark.bfloat16),
    ],
)
@pytest.mark.parametrize("pool", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_half_precision_stays_near_single(rng, dtype, pool):
    arguments = {"filters": 64, "dilation_rates": (1, 2), "atrous_filters": 8, "pool": pool}
    x = 20 * rng.standard_normal((1, 40, 40, 16)).astype("float32")
    single, half = DOLGLocalBranch(**arguments), DOLGLocalBranch(**arguments, dtype=dtype)
    single.build(x.shape)
    half.build(x.shape)
    half.set_weights(single.get_weights())
    expected, got = np.asarray(single(x)), np.asarray(half(x), "float32")
    np.testing.assert_allclose(relative_error(got.ravel(), expected.ravel()), 0, atol=0.03)


def test_one_layer_takes_maps_of_any_size(rng):
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, DOLGLocalBranch(IMG_SIZE=128, filters=4)(inputs))
    for height, width in [(3, 8), (20, 1)]:
        x = rng.standard_normal((2, height, width, 3)).astype("float32")
        assert model(x).shape == (2, height, width, 4)


@pytest.mark.parametrize("pool", [True, False])
def test_survives_saving(reloaded, rng, pool):
    layer = DOLGLocalBranch(
        filters=4, dilation_rates=(1, 2), atrous_filters=3, attention_channels=4, pool=pool
    )
    model, copy = reloaded(layer, (None, None, 3))
    x = rng.standard_normal((1, 6, 4, 3)).astype("float32")
    assert np.array_equal(model(x), copy(x))


@pytest.mark.parametrize("rates", [6, 0, None, (True,)])
def test_says_which_dilations_are_wrong(rates):
    with pytest.raises(ValueError, match=r"dilation_rates .* got"):
        DOLGLocalBranch(dilation_rates=rates)


def test_says_which_attention_is_possible():
    with pytest.raises(ValueError, match=r"1 or filters \(8\), got 4"):
        DOLGLocalBranch(filters=8, attention_channels=4)

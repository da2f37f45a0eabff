import keras
import numpy as np
import pytest

from dolg_zoo.layers import MultiAtrous


def convolve(x, kernel, bias, rate):
    """A convolution with zero padding, place by place."""
    size = kernel.shape[0]
    pad = rate * (size // 2)
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    height, width = x.shape[1:3]
    out = np.zeros((*x.shape[:3], kernel.shape[-1])) + bias
    for i in range(size):
        for j in range(size):
            rows, columns = slice(i * rate, i * rate + height), slice(j * rate, j * rate + width)
            out += padded[:, rows, columns] @ kernel[i, j]
    return out


def randomise(layer, rng):
    for weight in layer.weights:
        weight.assign(rng.standard_normal(weight.shape))


@pytest.mark.parametrize("pointwise", [True, False])
@pytest.mark.parametrize("size", [(9, 9), (5, 11), (1, 1)])
def test_equals_its_branches_written_out(rng, pointwise, size):
    x = rng.standard_normal((2, *size, 3)).astype("float32")
    layer = MultiAtrous(4, (1, 2, 5), pointwise)
    layer.build(x.shape)
    randomise(layer, rng)
    average, *convs = [
        [np.asarray(w, np.float64) for w in conv.weights]
        for conv in (layer.average_conv, *layer.convs)
    ]
    spread = np.maximum(x.mean(axis=(1, 2), keepdims=True) @ average[0][0, 0] + average[1], 0)
    expected = [np.broadcast_to(spread, (2, *size, 4))]
    rates = [1, 1, 2, 5] if pointwise else [1, 2, 5]
    expected += [convolve(x, *conv, rate) for conv, rate in zip(convs, rates, strict=True)]
    assert np.allclose(layer(x), np.concatenate(expected, axis=-1), rtol=1e-4, atol=1e-4)


def test_local_features_differ_from_place_to_place(rng):
    # the seed averages after each convolution, so that all places are alike
    x = rng.standard_normal((1, 8, 8, 3)).astype("float32")
    assert np.std(MultiAtrous(4)(x), axis=(1, 2))[:, 4:].min() > 0.01


def test_one_layer_takes_maps_of_any_size(rng):
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, MultiAtrous(2, (1, 3))(inputs))
    assert model.output_shape == (None, None, None, 8)
    for height, width in [(4, 6), (13, 2)]:
        x = rng.standard_normal((1, height, width, 3)).astype("float32")
        assert model(x).shape == (1, height, width, 8)


def test_averages_thousands_of_places_in_half_precision():
    x = np.full((1, 64, 64, 1), 20.0, "float32")  # their sum is beyond float16
    layer = MultiAtrous(1, (1,), pointwise=False, dtype="float16")
    layer.build(x.shape)
    layer.average_conv.kernel.assign(np.ones((1, 1, 1, 1)))
    assert np.allclose(np.asarray(layer(x), "float32")[..., 0], 20.0)


def test_survives_saving(reloaded, rng):
    model, copy = reloaded(MultiAtrous(4, (2, 3), pointwise=False), (None, None, 3))
    x = rng.standard_normal((1, 6, 4, 3)).astype("float32")
    assert np.array_equal(model(x), copy(x))


@pytest.mark.parametrize("rates", [(), (0, 1), (1.5,), (-6,), (True,), 6, None])
def test_says_which_dilations_are_wrong(rates):
    with pytest.raises(ValueError, match=r"dilation_rates .* got"):
        MultiAtrous(dilation_rates=rates)

"""The sum of taps against Keras's own dilated convolution."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from bounds import relative_error

from dolg_zoo.layers.dilated_conv import DilatedConv2D


def pair(dilation, dtype="float32"):
    """Ours and Keras's, with the same weights."""
    ours = DilatedConv2D(4, dilation, dtype=dtype)
    theirs = keras.layers.Conv2D(4, 3, padding="same", dilation_rate=dilation, dtype=dtype)
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(3, 3, 5, 4)), rng.normal(size=4)]
    for layer in (ours, theirs):
        layer.build((None, None, None, 5))
        layer.set_weights(weights)
    return ours, theirs


def images(height, width):
    return np.random.default_rng(1).normal(size=(2, height, width, 5)).astype("float32")


SIZES = [(9, 7), (3, 12), (2, 2), (1, 1)]  # wider, as wide, and narrower than the dilation of 3


@pytest.mark.parametrize("dilation", [1, 3, (2, 5)])
@pytest.mark.parametrize("size", SIZES)
def test_equals_the_convolution_of_keras(size, dilation):
    ours, theirs = pair(dilation)
    x = images(*size)
    # 45 products, of 0.6 in the mean: in the worst order a sum is off by 45 * 2^-24 * 29 = 8e-5
    np.testing.assert_allclose(ours(x), theirs(x), rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", SIZES)
def test_equals_it_where_the_graph_does_not_know_the_size(size):
    ours, theirs = pair(3)
    traced = tf.function(ours, input_signature=[tf.TensorSpec((None, None, None, 5))])
    x = images(*size)
    found = traced(x)
    assert found.shape == (2, *size, 4)
    np.testing.assert_allclose(found, theirs(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_its_gradients_are_those_of_the_convolution(size):
    found = []
    for layer in pair(3):
        x = tf.constant(images(*size))
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer(x) ** 2)
        found.append(tape.gradient(loss, [x, *(w.value for w in layer.weights)]))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-3)


@pytest.mark.bfloat16
def test_computes_in_the_dtype_of_its_policy():
    ours, theirs = pair(2, dtype="mixed_bfloat16")
    x = images(9, 7)
    assert ours(x).dtype == tf.bfloat16
    # a result has 8 bits, so it is off by 1/256 of itself; a wrong tap of nine shows at 1/3
    found, expected = (np.asarray(layer(x), "float32").ravel() for layer in (ours, theirs))
    np.testing.assert_allclose(relative_error(found, expected), 0, atol=0.1)


def test_comes_back_from_its_configuration():
    ours, _ = pair((2, 5))
    again = DilatedConv2D.from_config(ours.get_config())
    again.build((None, None, None, 5))
    again.set_weights(ours.get_weights())
    np.testing.assert_array_equal(again(images(9, 7)), ours(images(9, 7)))

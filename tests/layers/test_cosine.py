import numpy as np
import pytest

from dolg_zoo.layers import CosineSoftmax


def scaled_cosine(descriptors, centers, scale):
    norms = np.linalg.norm(descriptors, axis=1)[:, None] * np.linalg.norm(centers, axis=1)
    return scale * (descriptors @ centers.T) / norms


def filled(centers, *args):
    layer = CosineSoftmax(len(centers), *args)
    layer.build((None, centers.shape[1]))
    layer.centers.assign(centers)
    return layer


@pytest.mark.parametrize("scale", [1, 16.0])
def test_equals_the_formula(draw, with_labels, scale):
    descriptors, centers, labels = draw()
    found = with_labels(filled(centers, scale), descriptors, labels)
    expected = scaled_cosine(descriptors, centers, scale)
    assert np.allclose(found, expected, rtol=1e-5, atol=1e-6 * scale)


def test_gradients_are_the_slopes_of_the_formula(draw, rng, gradients, slopes):
    descriptors, centers, labels = draw()
    weights = rng.standard_normal((5, 7))
    found = gradients(filled(centers), descriptors, labels, weights)
    expected = slopes(lambda x, c: weights * scaled_cosine(x, c, 30), descriptors, centers)
    for gradient, slope in zip(found, expected, strict=True):
        assert np.allclose(gradient, slope, rtol=1e-4, atol=1e-5 * np.abs(slope).max())

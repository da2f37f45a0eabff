import keras
import numpy as np
import pytest
from bounds import COSINE

from dolg_zoo.layers import ArcFace


def cosines(descriptors, centers):
    x, w = (np.asarray(v, np.float64) for v in (descriptors, centers))
    norms = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(w, axis=1)
    return np.clip(x @ w.T / norms, -1, 1)


def arc_face(descriptors, centers, labels, scale, margin):
    angles = np.arccos(cosines(descriptors, centers))
    angles[np.arange(len(labels)), labels] += margin
    return scale * np.cos(angles)


def with_centers(layer, centers):
    layer.build((None, centers.shape[1]))
    layer.centers.assign(centers)
    return layer


@pytest.mark.parametrize(("scale", "margin"), [(64.0, 0.5), (30.0, 0.15), (1, 0), (10.0, 1.5)])
def test_equals_the_formula(draw, scale, margin):
    descriptors, centers, labels = draw()
    layer = with_centers(ArcFace(7, scale, margin), centers)
    expected = arc_face(descriptors, centers, labels, scale, margin)
    assert np.allclose(layer([descriptors, labels]), expected, rtol=0, atol=3e-5 * scale)


def test_has_the_scale_and_margin_of_the_paper(draw):
    descriptors, centers, labels = draw()
    expected = arc_face(descriptors, centers, labels, scale=64, margin=0.5)
    found = with_centers(ArcFace(7), centers)([descriptors, labels])
    assert np.allclose(found, expected, rtol=0, atol=3e-5 * 64)


def test_equals_dongkyuks_logits_and_loss(golden, with_labels):
    upstream = golden.read("dongkyuk_pytorch")
    descriptors = np.array(upstream["224x224_batch_seed0_seed1"]["descriptor"], "float32")
    layer = with_centers(ArcFace(1000, 30, 0.15), golden.fill("criterion.weight", (1000, 512)))
    labels = np.array([3, 5])
    logits = with_labels(layer, descriptors, labels)
    assert np.allclose(logits[:, :8], upstream["logits_head"], rtol=0, atol=30 * COSINE)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, logits)
    assert np.allclose(loss, upstream["loss_labels_3_5"], rtol=0, atol=30 * COSINE)


def test_gradients_are_the_slopes_of_the_formula(draw, rng, gradients, slopes):
    descriptors, centers, labels = draw(sine=0.2)
    weights = rng.standard_normal((5, 7))
    layer = with_centers(ArcFace(7, 30, 0.5), centers)
    found = gradients(layer, descriptors, labels, weights)
    expected = slopes(lambda x, c: weights * arc_face(x, c, labels, 30, 0.5), descriptors, centers)
    for gradient, slope in zip(found, expected, strict=True):
        assert np.allclose(gradient, slope, rtol=0, atol=1e-4 * np.abs(slope).max())

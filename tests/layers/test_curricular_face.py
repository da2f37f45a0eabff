import keras
import numpy as np
import pytest
from bounds import COSINE

from dolg_zoo.layers import CurricularFace


def target_cosines(descriptors, centers, labels):
    x, w = (np.asarray(v, np.float64) for v in (descriptors, centers[labels]))
    return np.sum(x * w, axis=1) / np.linalg.norm(x, axis=1) / np.linalg.norm(w, axis=1)


def curricular_face(descriptors, centers, labels, t, scale, margin):
    """The formula with angles, one logit at a time."""
    logits = np.empty((len(descriptors), len(centers)))
    for i, c in np.ndindex(logits.shape):
        cos, target = (target_cosines(descriptors[[i]], centers, [k])[0] for k in (c, labels[i]))
        angle = np.arccos(np.clip(target, -1, 1))
        if c == labels[i] and angle < np.pi - margin:
            logits[i, c] = np.cos(angle + margin)
        elif c == labels[i]:
            logits[i, c] = cos - margin * np.sin(np.pi - margin)
        elif cos > np.cos(angle + margin):
            logits[i, c] = cos * (t + cos)
        else:
            logits[i, c] = cos
    return scale * logits


def head(centers, *args, t=0.0, **kwargs):
    layer = CurricularFace(len(centers), *args, **kwargs)
    layer.build((None, centers.shape[1]))
    layer.centers.assign(centers)
    layer.t.assign(t)
    return layer


def at_angles(degrees):
    """Centers at these angles to the descriptor (1, 0)."""
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype("float32")


@pytest.mark.parametrize("t", [-0.3, 0.0, 0.6])
@pytest.mark.parametrize(("scale", "margin"), [(30.0, 0.15), (64.0, 0.5), (1, 0)])
def test_equals_the_formula(draw, t, scale, margin):
    descriptors, centers, labels = draw()
    found = head(centers, scale, margin, t=t)([descriptors, labels])
    expected = curricular_face(descriptors, centers, labels, t, scale, margin)
    assert np.allclose(found, expected, rtol=0, atol=3e-5 * scale)


def test_has_the_scale_and_margin_of_the_official_configuration(draw):
    descriptors, centers, labels = draw()
    expected = curricular_face(descriptors, centers, labels, 0.2, scale=30, margin=0.15)
    found = head(centers, t=0.2)([descriptors, labels])
    assert np.allclose(found, expected, rtol=0, atol=3e-5 * 30)


def test_a_wrong_class_is_hard_from_the_right_classs_angle_with_margin_on():
    centers = at_angles([40, 30, 50, 60, 70])  # margin: 20 degrees
    logits = head(centers, 1.0, np.radians(20), t=0.5)([np.array([[1.0, 0.0]]), np.array([0])])
    cos = np.cos(np.radians([60, 30, 50, 60, 70]))
    expected = [cos[0], cos[1] * (0.5 + cos[1]), cos[2] * (0.5 + cos[2]), cos[4]]
    assert np.allclose(np.asarray(logits)[0, [0, 1, 2, 4]], expected, rtol=1e-5)


def test_beyond_a_straight_angle_falls_back_for_the_right_class_only():
    # 175 + 28.6 degrees is 156.4 on the other side: a wrong class at 170 is not yet hard
    centers = at_angles([175, 170, 150])
    logits = np.asarray(head(centers, 1.0, 0.5, t=0.5)([np.array([[1.0, 0.0]]), np.array([0])]))
    cos = np.cos(np.radians([175, 170, 150]))
    expected = [cos[0] - 0.5 * np.sin(0.5), cos[1], cos[2] * (0.5 + cos[2])]
    assert np.allclose(logits, [expected], rtol=1e-5)


@pytest.mark.parametrize("model", ["r50", "r50_ma", "r101"])
def test_equals_the_official_logits(golden, model, with_labels):
    upstream = golden.read("official_pytorch")[model]
    layer = head(golden.fill("desc_cls.weight", (1000, 512)), 30.0, 0.15)
    for size in ("224x224", "193x257"):  # t went on from the first image to the second
        descriptor = np.array([upstream[size]["descriptor"]], "float32")
        logits = with_labels(layer, descriptor, np.array([3]))
        assert np.allclose(logits[0, :8], upstream[size]["logits_head"], rtol=0, atol=30 * COSINE)


def test_t_is_the_running_mean_of_the_right_classs_cosine_and_updated_before_it_is_used(draw, rng):
    _, centers, _ = draw()
    layer, t = head(centers, 30.0, 0.15, momentum=0.8), 0.0
    for batch in (5, 1, 9, 4):
        descriptors = rng.standard_normal((batch, 6)).astype("float32")
        labels = rng.integers(0, 7, batch)
        t = 0.8 * t + 0.2 * target_cosines(descriptors, centers, labels).mean()
        logits = layer([descriptors, labels], training=True)
        assert np.isclose(layer.t, t, rtol=1e-5, atol=1e-7)
        expected = curricular_face(descriptors, centers, labels, t, 30.0, 0.15)
        assert np.allclose(logits, expected, rtol=0, atol=3e-5 * 30)


def test_t_starts_at_zero_and_takes_a_hundredth_of_each_batch():
    layer = CurricularFace(3)
    descriptors = np.ones((2, 4), "float32")
    layer.build(descriptors.shape)
    assert [weight.path for weight in layer.non_trainable_weights] == [layer.t.path]
    layer.centers.assign(np.ones((3, 4)))
    for expected in (0.01, 0.0199):
        layer([descriptors, np.array([0, 1])], training=True)
        assert np.isclose(layer.t, expected, rtol=1e-5)


@pytest.mark.parametrize("training", [None, False])
def test_t_stays_when_not_training(draw, training):
    descriptors, centers, labels = draw()
    layer = head(centers, t=0.25)
    layer([descriptors, labels], training=training)
    layer(descriptors, training=True)  # no labels, no right class
    assert np.asarray(layer.t) == 0.25


def test_fit_updates_t_and_neither_evaluate_nor_predict_does(draw):
    descriptors, _, labels = draw()
    inputs, right = keras.Input((6,)), keras.Input((), dtype="int32")
    layer = CurricularFace(7)
    model = keras.Model([inputs, right], layer([inputs, right]))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    t = 0.01 * target_cosines(descriptors, np.asarray(layer.centers), labels).mean()
    model.fit([descriptors, labels], labels, batch_size=5, verbose=0)
    model.evaluate([descriptors, labels], labels, verbose=0)
    model.predict([descriptors, labels], verbose=0)
    assert np.isclose(layer.t, t, rtol=1e-5, atol=1e-8)


def test_gradients_are_the_slopes_of_the_formula_for_a_fixed_t(draw, rng, gradients, slopes):
    descriptors, centers, labels = draw(sine=0.2)
    weights = rng.standard_normal((5, 7))
    layer = head(centers, 30.0, 0.5, momentum=0.5, t=0.4)
    found = gradients(layer, descriptors, labels, weights)
    t = 0.2 + 0.5 * target_cosines(descriptors, centers, labels).mean()
    expected = slopes(
        lambda x, c: weights * curricular_face(x, c, labels, t, 30.0, 0.5), descriptors, centers
    )
    for gradient, slope in zip(found, expected, strict=True):
        assert np.allclose(gradient, slope, rtol=0, atol=1e-4 * np.abs(slope).max())


def test_keeps_t_and_its_momentum_when_saved(reloaded):
    _, copy = reloaded(CurricularFace(7, momentum=0.7), (6,), ())
    assert copy.layers[-1].momentum == 0.7
    assert np.isclose(copy.layers[-1].t, 0.02)  # as the fixture sets the second weight


@pytest.mark.parametrize("momentum", [-0.1, 1.1, None, float("nan")])
def test_says_which_momentum_is_wrong(momentum):
    with pytest.raises(ValueError, match=f"momentum must be .* got {momentum!r}"):
        CurricularFace(3, momentum=momentum)

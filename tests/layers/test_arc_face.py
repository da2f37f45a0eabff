import keras
import numpy as np
import pytest

from dolg_zoo.layers import ArcFace, CurricularFace


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


def draw(rng, batch=5, dim=6, classes=7):
    """Descriptors, centers and labels; the first label's center is opposite, the second's near."""
    descriptors = rng.standard_normal((batch, dim)).astype("float32")
    centers = rng.standard_normal((classes, dim)).astype("float32")
    labels = rng.permutation(classes)[:batch]
    noise = 0.1 * rng.standard_normal((2, dim))
    centers[labels[:2]] = [[-3], [2]] * descriptors[:2] + noise
    return descriptors, centers, labels


@pytest.mark.parametrize(("scale", "margin"), [(64.0, 0.5), (30.0, 0.15), (1, 0), (10.0, 1.5)])
def test_equals_the_formula(rng, scale, margin):
    descriptors, centers, labels = draw(rng)
    layer = with_centers(ArcFace(7, scale, margin), centers)
    expected = arc_face(descriptors, centers, labels, scale, margin)
    assert np.allclose(layer([descriptors, labels]), expected, rtol=1e-5, atol=1e-6 * scale)


@pytest.mark.parametrize("head", [ArcFace, CurricularFace])
def test_labels_may_stand_in_a_column(rng, head):
    descriptors, centers, labels = draw(rng)
    layer = with_centers(head(7), centers)
    in_a_column = layer([descriptors, labels[:, None]])
    assert np.array_equal(in_a_column, layer([descriptors, labels]))
    symbolic = layer([keras.Input((6,)), keras.Input((1,), dtype="int32")])
    assert symbolic.shape == (None, 7)


def test_has_the_scale_and_margin_of_the_paper(rng):
    descriptors, centers, labels = draw(rng)
    expected = arc_face(descriptors, centers, labels, scale=64, margin=0.5)
    found = with_centers(ArcFace(7), centers)([descriptors, labels])
    assert np.allclose(found, expected, rtol=1e-5, atol=1e-4)


def test_equals_dongkyuks_logits_and_loss(golden):
    upstream = golden.read("dongkyuk_pytorch")
    descriptors = np.array(upstream["224x224_batch_seed0_seed1"]["descriptor"], "float32")
    layer = with_centers(ArcFace(1000, 30, 0.15), golden.fill("criterion.weight", (1000, 512)))
    labels = np.array([3, 5])
    logits = layer([descriptors, labels], training=True)
    assert np.allclose(logits[:, :8], upstream["logits_head"], rtol=1e-5, atol=1e-7)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, logits)
    assert np.allclose(loss, upstream["loss_labels_3_5"], rtol=1e-6)


def test_gradients_are_the_slopes_of_the_formula(rng):
    tf = pytest.importorskip("tensorflow")
    descriptors, centers, labels = draw(rng)
    weights = rng.standard_normal((5, 7))
    layer = with_centers(ArcFace(7, 30, 0.5), centers)
    with tf.GradientTape() as tape:
        inputs = tf.constant(descriptors)
        tape.watch(inputs)
        total = tf.reduce_sum(layer([inputs, labels], training=True) * weights.astype("float32"))
    gradients = tape.gradient(total, [inputs, layer.centers.value])
    values = [descriptors.astype(np.float64), centers.astype(np.float64)]
    for value, gradient in zip(values, gradients, strict=True):
        slopes, step = np.empty_like(value), 1e-6
        for place in np.ndindex(value.shape):
            value[place] += step
            above = np.sum(weights * arc_face(*values, labels, 30, 0.5))
            value[place] -= 2 * step
            below = np.sum(weights * arc_face(*values, labels, 30, 0.5))
            value[place] += step
            slopes[place] = (above - below) / (2 * step)
        assert np.allclose(gradient, slopes, rtol=1e-4, atol=1e-5 * np.abs(slopes).max())


# what the margin heads have in common

heads = pytest.mark.parametrize("head", [ArcFace, CurricularFace])


@heads
def test_without_labels_gives_the_scaled_cosine_also_in_training(rng, head):
    descriptors, centers, _ = draw(rng)
    layer = with_centers(head(7, 20), centers)
    for training in (None, False, True):
        found = layer(descriptors, training=training)
        assert np.allclose(found, 20 * cosines(descriptors, centers), rtol=1e-5, atol=1e-5)


@heads
@pytest.mark.parametrize("length", [1e-9, 1e-3, 1e3, 1e9])
def test_the_length_of_a_descriptor_does_not_count(rng, head, length):
    descriptors, centers, labels = draw(rng)
    layer = with_centers(head(7), centers)
    scaled = layer([descriptors * np.float32(length), labels])
    assert np.allclose(scaled, layer([descriptors, labels]), rtol=1e-4, atol=1e-4)


@heads
def test_a_descriptor_of_zeros_stays_finite(rng, head):
    _, centers, labels = draw(rng)
    zeros = np.zeros((5, 6), "float32")
    assert np.isfinite(with_centers(head(7), centers)([zeros, labels])).all()


@heads
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "mixed_float16", "mixed_bfloat16"])
def test_computes_in_float32_whatever_the_policy(rng, head, dtype):
    descriptors, centers, labels = draw(rng)
    single, half = (with_centers(head(7, dtype=each), centers) for each in ("float32", dtype))
    assert {weight.dtype for weight in half.weights} == {"float32"}
    found = half([descriptors, labels], training=True)
    assert np.array_equal(found, single([descriptors, labels], training=True))
    assert half(keras.Input((6,), dtype="float16")).dtype == "float32"


@heads
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("compiled", [False, True])  # at 0 only XLA gives sqrt's gradient as NaN
def test_is_finite_where_a_descriptor_meets_its_center_or_its_opposite(rng, head, dtype, compiled):
    tf = pytest.importorskip("tensorflow")
    centers = tf.cast(rng.standard_normal((64, 32)), dtype)
    layer = with_centers(head(64, 30, 0.5, dtype=f"mixed_{dtype}"), tf.cast(centers, "float32"))
    labels = np.tile(np.arange(64), 2)

    @tf.function(jit_compile=compiled)
    def logits_and_gradients(descriptors):
        with tf.GradientTape() as tape:
            tape.watch(descriptors)
            logits = layer([descriptors, labels], training=True)
        return logits, tape.gradient(logits, [descriptors, layer.centers.value])

    logits, gradients = logits_and_gradients(tf.concat([centers, -centers], axis=0))
    target = logits.numpy()[np.arange(128), labels]
    # a cosine of float32 is 6e-8 off, and the sine then up to 5e-4
    assert np.allclose(target[:64], 30 * np.cos(0.5), atol=30 * 5e-4)
    opposite = {ArcFace: -np.cos(0.5), CurricularFace: -1 - 0.5 * np.sin(0.5)}[head]
    assert np.allclose(target[64:], 30 * opposite, atol=30 * 5e-4)
    for gradient in gradients:
        assert np.isfinite(tf.cast(gradient, "float32")).all()


@heads
def test_learns_in_a_model_and_then_predicts_without_labels(rng, head):
    labels = np.arange(120) % 4
    features = np.eye(4, 8)[labels] + 0.1 * rng.standard_normal((120, 8))
    inputs, right = keras.Input((8,)), keras.Input((), dtype="int32")
    descriptors, layer = keras.layers.Dense(5)(inputs), head(4, 10.0)
    model = keras.Model([inputs, right], layer([descriptors, right]))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.optimizer.learning_rate = 0.02
    losses = model.fit([features, labels], labels, epochs=12, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]
    classifier = keras.Model(inputs, layer(descriptors))
    assert np.array_equal(classifier.predict(features, verbose=0).argmax(axis=1), labels)


@heads
def test_survives_saving(reloaded, rng, head):
    model, copy = reloaded(head(7, 12.5, 0.3), (6,), ())
    descriptors, _, labels = draw(rng)
    assert np.array_equal(model([descriptors, labels]), copy([descriptors, labels]))


@heads
@pytest.mark.parametrize(
    "wrong",
    [
        {"num_classes": 0},
        {"num_classes": 2.5},
        {"num_classes": None},
        {"scale": 0},
        {"scale": -30.0},
        {"scale": float("inf")},
        {"scale": "30"},
        {"margin": -0.1},
        {"margin": np.pi / 2},
        {"margin": float("nan")},
        {"margin": None},
    ],
    ids=str,
)
def test_says_which_argument_is_wrong(head, wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"{name} must be .* got {value!r}"):
        head(**{"num_classes": 3, **wrong})


@heads
@pytest.mark.parametrize(
    "shapes",
    [
        [(2, 8), (2, 2)],
        [(2, 8), (1,)],
        [(2,), (2, 8)],
        [(2, 3, 8), (2,)],
        [(2, 8), (2,), (2,)],
        [(2, 8)],
        (2, 3, 8),
        (8,),
    ],
    ids=str,
)
@pytest.mark.parametrize("make", [np.ones, lambda shape: keras.Input(batch_shape=shape)])
@pytest.mark.parametrize("used", [False, True])
def test_says_which_shapes_do_not_fit(head, shapes, make, used):
    layer = head(3)
    if used:
        layer(np.ones((2, 8)))
    inputs = [make(shape) for shape in shapes] if isinstance(shapes, list) else make(shapes)
    with pytest.raises(ValueError, match="takes descriptors of shape"):
        layer(inputs)

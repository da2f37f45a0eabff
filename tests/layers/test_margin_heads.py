"""What the heads have in common."""

import subprocess
import sys
from itertools import cycle, islice

import keras
import numpy as np
import pytest
from bounds import cosine_error

from dolg_zoo.layers import MARGIN_HEADS, ArcFace, CosineSoftmax, CurricularFace, SubCenterArcFace

HEADS = list(MARGIN_HEADS.values())
heads = pytest.mark.parametrize("head", HEADS)


def in_turn(name, values):
    """Every head and every value, but not each with each: the code is that of their base."""
    count = max(len(HEADS), len(values))
    pairs = zip(cycle(HEADS), cycle(values), strict=False)
    return pytest.mark.parametrize(("head", name), list(islice(pairs, count)))


def new(head, classes, scale=30.0, margin=0.5, **settings):
    if head is not CosineSoftmax:
        settings["margin"] = margin
    return head(classes, scale=scale, **settings)


def filled(layer, centers):
    """With these centers; where a class has several, with as many copies."""
    layer.build((None, centers.shape[1]))
    classes, *several, dim = layer.centers.shape
    layer.centers.assign(np.repeat(centers, several or 1, axis=0).reshape(classes, *several, dim))
    return layer


def cosines(descriptors, centers):
    norms = np.linalg.norm(descriptors, axis=1)[:, None] * np.linalg.norm(centers, axis=1)
    return descriptors @ centers.T / norms


def test_a_head_has_a_name():
    assert dict(MARGIN_HEADS) == {
        "arcface": ArcFace,
        "subcenter_arcface": SubCenterArcFace,
        "curricularface": CurricularFace,
        "cosine": CosineSoftmax,
    }


@heads
def test_without_labels_gives_the_scaled_cosine_also_in_training(draw, head):
    descriptors, centers, _ = draw()
    layer = filled(new(head, 7, 20), centers)
    for training in (None, False, True):
        found = layer(descriptors, training=training)
        assert np.allclose(found, 20 * cosines(descriptors, centers), rtol=1e-5, atol=1e-5)


@heads
def test_labels_may_stand_in_a_column(draw, head):
    descriptors, centers, labels = draw()
    layer = filled(head(7), centers)
    in_a_column = layer([descriptors, labels[:, None]])
    assert np.array_equal(in_a_column, layer([descriptors, labels]))
    symbolic = layer([keras.Input((6,)), keras.Input((1,), dtype="int32")])
    assert symbolic.shape == (None, 7)


@in_turn("dtype", ["float16", "bfloat16", "float64"])
def test_logits_of_another_precision_get_their_margin_in_float32(draw, head, dtype):
    descriptors, centers, labels = draw()
    layer = filled(head(7), centers)
    logits = keras.ops.cast(layer(descriptors), dtype)
    found = layer.add_margin(logits, labels)
    assert found.dtype == "float32"
    assert np.array_equal(found, layer.add_margin(keras.ops.cast(logits, "float32"), labels))


@in_turn("shape", [(2, 4), (2, 3, 1), (3,)])
def test_says_that_logits_are_of_other_classes(head, shape):
    layer = filled(head(3), np.ones((3, 4), "float32"))
    with pytest.raises(ValueError, match=r"logits must be of shape \(batch, 3\), got \("):
        layer.add_margin(np.zeros(shape, "float32"), np.array([0, 1]))


@heads
@pytest.mark.parametrize("length", [1e-9, 1e9])
def test_lengths_do_not_count(draw, head, length):
    descriptors, centers, labels = draw()
    layer = filled(head(7), centers)
    expected = layer([descriptors, labels])
    found = layer([descriptors * np.float32(length), labels])
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-4)
    found = filled(head(7), centers * np.float32(length))([descriptors, labels])
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-4)


@heads
def test_new_centers_have_a_length_that_the_number_of_classes_does_not_change(head):
    for classes in (10, 10000):
        layer = head(classes)
        layer.build((None, 64))
        lengths = np.linalg.norm(layer.centers, axis=-1)
        # margin: the norms of 64 random numbers, even in ±1/8, are spread by 0.11 of their mean
        assert np.allclose(lengths, 3**-0.5, rtol=0.35)


@in_turn("dtype", ["float16", "bfloat16", "mixed_float16", "mixed_bfloat16"])
def test_computes_in_float32_whatever_the_policy(draw, head, dtype):
    descriptors, centers, labels = draw()
    single, half = (filled(head(7, dtype=each), centers) for each in ("float32", dtype))
    assert {weight.dtype for weight in half.weights} == {"float32"}
    found = half([descriptors, labels], training=True)
    assert np.array_equal(found, single([descriptors, labels], training=True))
    assert half(keras.Input((6,), dtype="float16")).dtype == "float32"


@pytest.fixture
def logits_loss_and_gradients():
    """All three of a head on descriptors, computed as a graph of unknown batch size."""
    tf = pytest.importorskip("tensorflow")

    def compute(layer, descriptors, labels, compiled):
        @tf.function(
            jit_compile=compiled,
            input_signature=[
                tf.TensorSpec((None, descriptors.shape[1]), descriptors.dtype),
                tf.TensorSpec((None,), tf.int32),
            ],
        )
        def run(descriptors, labels):
            with tf.GradientTape(persistent=True) as tape:
                tape.watch(descriptors)
                logits = layer.add_margin(layer(descriptors), labels, training=True)
                loss = keras.losses.sparse_categorical_crossentropy(labels, logits, True)
            over = [descriptors, layer.centers.value]
            return logits, loss, [tape.gradient(of, over) for of in (logits, loss)]

        logits, loss, gradients = run(descriptors, tf.constant(labels, tf.int32))
        for value in tf.nest.flatten([logits, loss, gradients]):
            assert np.isfinite(tf.cast(value, "float32")).all()
        return logits.numpy(), gradients

    return compute


# at 0 only XLA gives sqrt's gradient as NaN; it takes 2 s to compile a head
@pytest.mark.parametrize(
    ("head", "dtype", "compiled", "exactly"),
    [
        *((head, "float16", False, True) for head in HEADS),
        (CurricularFace, "float16", False, False),
        (CurricularFace, "float16", True, True),
        *(pytest.param(head, "bfloat16", True, True, marks=pytest.mark.slow) for head in HEADS),
        pytest.param(SubCenterArcFace, "bfloat16", False, False, marks=pytest.mark.slow),
    ],
)
def test_is_finite_where_a_descriptor_meets_its_center_or_its_opposite(
    rng, head, dtype, compiled, exactly, logits_loss_and_gradients
):
    tf = pytest.importorskip("tensorflow")
    centers = tf.cast(np.eye(64) if exactly else rng.standard_normal((64, 32)), dtype)
    layer = filled(new(head, 64, dtype=f"mixed_{dtype}"), tf.cast(centers, "float32"))
    labels = np.tile(np.arange(64), 2)
    descriptors = tf.concat([centers, -centers], axis=0)
    logits, _ = logits_loss_and_gradients(layer, descriptors, labels, compiled)
    target = logits[np.arange(128), labels]
    met, opposite = {
        CurricularFace: (np.cos(0.5), -1 - 0.5 * np.sin(0.5)),
        CosineSoftmax: (1, -1),
    }.get(head, (np.cos(0.5), -np.cos(0.5)))
    # Where a cosine is off by e from 1, the sine is off by √(2 e) from 0; sums of the rows of the
    # identity are exact.
    error = cosine_error(0 if exactly else 32)
    tolerance = 30 * (error + np.sin(0.5) * np.sqrt(2 * error))
    # margin: the root makes half of the tolerance of a quarter of the cosine's error
    assert np.allclose(target[:64], 30 * met, rtol=0, atol=tolerance)
    # margin: as above
    assert np.allclose(target[64:], 30 * opposite, rtol=0, atol=tolerance)


@heads
@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_zeros_have_the_cosine_0_and_do_not_pull(draw, head, compiled, logits_loss_and_gradients):
    tf = pytest.importorskip("tensorflow")
    _, centers, labels = draw()
    centers[labels[0]] = 0
    layer = filled(new(head, 7), centers)
    zeros = tf.zeros((5, 6))
    assert np.array_equal(layer(zeros), np.zeros((5, 7)))
    _, gradients = logits_loss_and_gradients(layer, zeros, labels, compiled)
    for by_descriptors, _ in gradients:
        assert np.array_equal(by_descriptors, zeros)


@pytest.mark.parametrize(
    ("head", "way"),
    [
        (CurricularFace, "in the model"),
        (ArcFace, "in its loss"),
        pytest.param(SubCenterArcFace, "in its loss", marks=pytest.mark.slow),
    ],
)
def test_learns_in_a_model_and_then_predicts_without_labels(rng, head, way):
    labels = np.arange(120) % 4
    features = np.eye(4, 8)[labels] + 0.1 * rng.standard_normal((120, 8))
    inputs, right = keras.Input((8,)), keras.Input((), dtype="int32")
    descriptors, layer = keras.layers.Dense(5)(inputs), new(head, 4, 10.0)

    class Trained(keras.Model):
        def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
            return super().compute_loss(x, y, layer.add_margin(y_pred, y, training=training))

    if way == "in the model":
        model = keras.Model([inputs, right], layer([descriptors, right]))
        given = [features, labels]
    else:
        model, given = Trained(inputs, layer(descriptors)), features
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.optimizer.learning_rate = 0.02
    # all of it in each step; an epoch takes far longer than its ten steps
    steps = {"batch_size": len(labels), "shuffle": False, "verbose": 0}
    ten_times = keras.tree.map_structure(lambda array: np.concatenate([array] * 10), given)
    losses = model.fit(ten_times, np.tile(labels, 10), epochs=4, **steps).history["loss"]
    assert losses[-1] < 0.5 * losses[0]
    classifier = keras.Model(inputs, layer(descriptors))
    assert np.array_equal(classifier.predict(features, verbose=0).argmax(axis=1), labels)


@heads
def test_survives_saving(reloaded, draw, head):
    model, copy = reloaded(new(head, 7, 12.5, 0.3), (6,), ())
    descriptors, _, labels = draw()
    assert np.array_equal(model([descriptors, labels]), copy([descriptors, labels]))


WRONG = [
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
]


@pytest.mark.parametrize(
    ("head", "wrong"),
    [*((ArcFace, wrong) for wrong in WRONG), *((head, {"scale": 0}) for head in HEADS)],
    ids=str,
)
def test_says_which_argument_is_wrong(head, wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"{name} must be .* got {value!r}"):
        head(**{"num_classes": 3, **wrong})


@in_turn(
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


LANDMARKS = """
import resource
import keras, numpy as np
from dolg_zoo.layers import SubCenterArcFace

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

head, before = SubCenterArcFace(81313), peak()  # which has most centers
inputs, right = keras.Input((512,)), keras.Input((), dtype="int32")
model = keras.Model([inputs, right], head([inputs, right]))
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss, jit_compile=True)
rng = np.random.default_rng(0)
x, y = rng.normal(size=(8, 512)).astype("float32"), rng.integers(0, 81313, 8)
losses = [model.train_on_batch([x, y], y) for _ in range(5)]
print(losses[0], losses[-1], peak() - before)
"""


@pytest.mark.slow
def test_learns_all_landmarks_of_gldv2_in_bounded_memory():
    done = subprocess.run(
        [sys.executable, "-c", LANDMARKS], capture_output=True, text=True, check=True
    )
    first, last, mebibytes = map(float, done.stdout.split())
    assert last < 0.5 * first
    centers = 3 * 81313 * 512 * 4 / 2**20
    assert mebibytes < 4 * centers + 200  # they, momentum, gradient, one copy; and XLA itself

from functools import cache

import keras
import numpy as np
import pytest
import tensorflow as tf

from dolg_zoo import DOLG, DOLGConfig, DOLGNet, ImageConverter
from dolg_zoo.layers import ArcFace

LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def small_model():
    base = keras.Input((32, 32, 3))
    local = keras.layers.Conv2D(8, 3, strides=4)(base)
    net = DOLGNet(
        keras.Model(base, [local, keras.layers.Conv2D(16, 3, strides=2)(local)]),
        config=DOLGConfig(
            input_shape=(32, 32, 3), dilation_rates=(), hidden_dim=12, descriptor_dim=6
        ),
    )
    return DOLG(net, ImageConverter(size=(32, 32), mode="squash"))


@pytest.fixture
def photos(rng):
    labels = np.arange(12) % 3
    images = rng.integers(0, 60, (12, 32, 32, 3))
    images[np.arange(12), :, :, labels] += 150  # a colour a class
    return images.astype("uint8"), labels


def test_fit_on_images_and_labels_lowers_the_loss_and_changes_the_descriptors(photos):
    model = small_model()
    before = model.embed(photos[0])
    classifier = model.with_margin_head(3, head="subcenter_arcface")
    classifier.compile(keras.optimizers.Adam(1e-2), LOSS, metrics=["accuracy"])
    four_times = [np.concatenate([each] * 4) for each in photos]
    options = {"epochs": 2, "batch_size": 12, "shuffle": False, "verbose": 0}
    losses = classifier.fit(*four_times, **options).history["loss"]
    assert losses[-1] < 0.7 * losses[0]
    assert np.abs(model.embed(photos[0]) - before).max() > 0.01


def test_the_loss_is_that_of_the_formula_with_the_margin(photos):
    images, labels = photos
    model = small_model()
    classifier = model.with_margin_head(3, head="arcface", scale=16.0, margin=0.3)
    classifier.compile("sgd", LOSS)
    descriptors = model.predict(images, verbose=0).astype(np.float64)
    centers = np.asarray(classifier.head.centers, np.float64)
    cosines = descriptors @ (centers / np.linalg.norm(centers, axis=1, keepdims=True)).T
    angles = np.arccos(np.clip(cosines, -1, 1))
    angles[np.arange(12), labels] += 0.3
    logits = 16 * np.cos(angles)
    expected = np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(12), labels])
    assert classifier.evaluate(images, labels, verbose=0) == pytest.approx(expected, rel=1e-4)
    without = classifier.predict(images, verbose=0)
    np.testing.assert_allclose(without, 16 * cosines, rtol=1e-4, atol=1e-4)


def test_a_saved_preset_has_the_trained_weights_and_the_head(photos, tmp_path):
    classifier = small_model().with_margin_head(3, head="subcenter_arcface")
    classifier.compile("sgd", LOSS)
    images = np.zeros((4, 32, 32, 3), "uint8")
    classifier.fit(images, np.array([0, 1, 2, 0]), verbose=0)
    classifier.save_to_preset(tmp_path / "mine")
    again = DOLG.from_preset(tmp_path / "mine")
    head = again.load_margin_head()
    np.testing.assert_array_equal(head.centers, classifier.head.centers)
    resumed = again.with_margin_head(head=head)
    np.testing.assert_array_equal(
        resumed.predict(images, verbose=0), classifier.predict(images, verbose=0)
    )


def test_a_classifier_saved_as_keras_file_gives_the_same_logits(photos, tmp_path):
    classifier = small_model().with_margin_head(3, head="curricularface")
    classifier.save(tmp_path / "c.keras")
    again = keras.saving.load_model(tmp_path / "c.keras")
    np.testing.assert_array_equal(
        again.predict(photos[0], verbose=0), classifier.predict(photos[0], verbose=0)
    )


def test_an_unknown_head_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"subcenter_arcface.*'sphereface'"):
        small_model().with_margin_head(3, head="sphereface")


def test_a_layer_that_is_no_head_is_refused():
    with pytest.raises(TypeError, match="ArcFace"):
        small_model().with_margin_head(head=keras.layers.Dense(3))


def test_settings_beside_a_layer_are_refused():
    with pytest.raises(ValueError, match=r"7 classes.*num_classes=3"):
        small_model().with_margin_head(3, head=ArcFace(7))


# labels

IMAGES = np.zeros((4, 32, 32, 3), "uint8")
ONE_HOT = np.eye(3)[[0, 1, 2, 0]]
NAMES = ["cat", "dog", "cat", "dog"]


@pytest.fixture(scope="module")
def classifier():
    """One of each kind, which may be trained on: `classifier(classes, eagerly)`."""

    @cache
    def make(classes, eagerly=False):
        made = small_model().with_margin_head(classes, head="arcface")
        made.compile("sgd", LOSS, metrics=["accuracy"], run_eagerly=eagerly)
        return made

    return make


def refused(call, *arguments, match, **options):
    """The call ends in one short line."""
    with pytest.raises(ValueError, match=match) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def data_set(labels):
    images = np.zeros((len(labels), 32, 32, 3), "uint8")
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(2)


@pytest.mark.parametrize(
    ("labels", "message", "eagerly"),
    [
        ([1, 2, 3, 1], "labels must be whole numbers from 0 to 2; there is a 3", False),
        ([1, 2, 3, 1], "labels must be whole numbers from 0 to 2; there is a 3", True),
        ([0, 1, -1, 2], "labels must be whole numbers from 0 to 2; there is a -1", False),
        ([0.0, 1.5, 2.0, 0.0], "labels must be whole numbers from 0 to 2; there is a 1.5", False),
        (ONE_HOT, r"from 0 to 2, not one-hot .* shape \(.*3\).*argmax", False),
        (ONE_HOT, r"from 0 to 2, not one-hot .* shape \(.*3\).*argmax", True),
    ],
)
def test_labels_that_are_none_of_the_classes_are_named(classifier, labels, message, eagerly):
    model = classifier(3, eagerly)
    weights = [weight.numpy() for weight in model.weights]
    labels = np.array(labels)
    refused(model.fit, IMAGES, labels, match=message, batch_size=4, verbose=0)
    refused(model.evaluate, IMAGES, labels, match=message, verbose=0)
    for weight, before in zip(model.weights, weights, strict=True):
        np.testing.assert_array_equal(weight, before)


@pytest.mark.parametrize(
    ("method", "labels", "message"),
    [
        ("train_on_batch", np.array([1, 2, 3, 1]), "from 0 to 2; there is a 3"),
        ("test_on_batch", [1, 2, 3, 1], "from 0 to 2; there is a 3"),
        ("train_on_batch", tf.constant([1, 2, 3, 1]), "from 0 to 2; there is a 3"),
        ("train_on_batch", ONE_HOT.tolist(), "not one-hot"),
        ("test_on_batch", tf.constant(ONE_HOT), "not one-hot"),
    ],
)
def test_labels_of_a_batch_are_looked_at_as_well(classifier, method, labels, message):
    refused(getattr(classifier(3), method), IMAGES, labels, match=message)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 2, 3, 1], "from 0 to 2; there is a 3"),
        (ONE_HOT, "not one-hot"),
        (NAMES, "^labels must be .*, not names.*"),
        ([True, False] * 2, "^labels must be .*, not bool.*"),
    ],
)
def test_labels_of_a_data_set_are_looked_at_as_well(classifier, labels, message):
    refused(classifier(3).fit, data_set(labels), match=message, verbose=0)


@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch", "test_on_batch", "val"])
def test_names_as_labels_are_one_line_that_says_how_to_number_them(classifier, method):
    model, match = classifier(3), "labels must be whole numbers from 0 to 2, not names"
    if method == "val":
        validation = {"validation_data": (IMAGES, NAMES), "verbose": 0}
        refused(model.fit, IMAGES, np.array([0, 1, 2, 0]), match=match, **validation)
    else:
        refused(getattr(model, method), IMAGES, NAMES, match=match)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array(NAMES, object), "not names such as 'cat'"),
        (np.array([True, False] * 2), "not bool"),
    ],
)
def test_an_array_of_names_or_of_truth_values_is_none_of_labels(classifier, labels, message):
    refused(classifier(3).fit, IMAGES, labels, match=message)


@pytest.mark.parametrize(
    ("labels", "eagerly"),
    [
        (np.array([0, 1, 2, 100], "uint8"), False),
        (np.array([0, 1, 2, 100], object), True),
        ([0, 1, 2, 100], True),
        (np.array([[0], [1], [2], [100]]), False),
        (np.array([0.0, 1.0, 2.0, 100.0]), False),
    ],
    ids=["uint8", "object", "list", "column", "float"],
)
def test_whole_numbers_of_any_type_are_labels_under_any_number_of_classes(
    classifier, labels, eagerly
):
    losses = classifier(300, eagerly).fit(IMAGES, labels, verbose=0).history["loss"]
    assert np.isfinite(losses).all()


@pytest.mark.parametrize(
    "dtype", ["uint8", *(pytest.param(d, marks=pytest.mark.slow) for d in ("int8", "uint64"))]
)
def test_whole_numbers_of_any_type_are_labels_in_a_data_set(classifier, dtype):
    labels = np.array([0, 1, 2, 100], dtype)
    losses = classifier(300).fit(data_set(labels), verbose=0).history["loss"]
    assert np.isfinite(losses).all()

import keras
import numpy as np
import pytest
import tensorflow as tf

from dolg_zoo import DOLG, DOLGConfig, DOLGNet, ImageConverter
from dolg_zoo.layers import MARGIN_HEADS, ArcFace

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


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(head, marks=[] if head == "subcenter_arcface" else pytest.mark.slow)
        for head in MARGIN_HEADS
    ],
)
def test_fit_on_images_and_labels_lowers_the_loss_and_changes_the_descriptors(photos, head):
    model = small_model()
    before = model.embed(photos[0])
    classifier = model.with_margin_head(3, head=head)
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


FIT = {"batch_size": 4, "verbose": 0}


@pytest.mark.parametrize("eagerly", [False, True])
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 2, 3, 1], "labels must be whole numbers from 0 to 2; there is a 3"),
        ([0, 1, -1, 2], "labels must be whole numbers from 0 to 2; there is a -1"),
        ([0.0, 1.5, 2.0, 0.0], "labels must be whole numbers from 0 to 2; there is a 1.5"),
        (np.eye(3)[[0, 1, 2, 0]], r"from 0 to 2, not one-hot .* shape \(.*3\).*argmax"),
    ],
)
def test_labels_that_are_none_of_the_classes_are_named(labels, message, eagerly):
    classifier = small_model().with_margin_head(3, head="arcface")
    classifier.compile("sgd", LOSS, run_eagerly=eagerly)
    images = np.zeros((4, 32, 32, 3), "uint8")
    weights = [weight.numpy() for weight in classifier.weights]
    with pytest.raises(ValueError, match=message) as caught:
        classifier.fit(images, np.array(labels), **FIT)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    with pytest.raises(ValueError, match=message):
        classifier.evaluate(images, np.array(labels), verbose=0)
    for weight, before in zip(classifier.weights, weights, strict=True):
        np.testing.assert_array_equal(weight, before)


@pytest.mark.parametrize("method", ["train_on_batch", "test_on_batch"])
@pytest.mark.parametrize("as_given", [np.array, list, tf.constant])
@pytest.mark.parametrize(
    ("labels", "message"),
    [([1, 2, 3, 1], "from 0 to 2; there is a 3"), (np.eye(3)[[0, 1, 2, 0]], "not one-hot")],
)
def test_labels_of_a_batch_are_looked_at_as_well(method, as_given, labels, message):
    classifier = small_model().with_margin_head(3, head="arcface")
    classifier.compile("sgd", LOSS)
    images = np.zeros((4, 32, 32, 3), "uint8")
    with pytest.raises(ValueError, match=message) as caught:
        getattr(classifier, method)(images, as_given(labels))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_labels_of_a_data_set_are_looked_at_as_well():
    classifier = small_model().with_margin_head(3, head="arcface")
    classifier.compile("sgd", LOSS)
    images = np.zeros((4, 32, 32, 3), "uint8")
    data = tf.data.Dataset.from_tensor_slices((images, [1, 2, 3, 1])).batch(2)
    with pytest.raises(ValueError, match="from 0 to 2; there is a 3"):
        classifier.fit(data, verbose=0)
    one_hot = tf.data.Dataset.from_tensor_slices((images, np.eye(3)[[0, 1, 2, 0]])).batch(2)
    with pytest.raises(ValueError, match="not one-hot") as caught:
        classifier.fit(one_hot, verbose=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("labels", [[[0], [1], [2], [0]], [0.0, 1.0, 2.0, 0.0]])
def test_labels_in_a_column_or_as_floats_are_labels(labels):
    classifier = small_model().with_margin_head(3, head="arcface")
    classifier.compile("sgd", LOSS)
    images = np.zeros((4, 32, 32, 3), "uint8")
    assert np.isfinite(classifier.fit(images, np.array(labels), **FIT).history["loss"]).all()


def given(kind, labels):
    if kind == "data set":
        images = np.zeros((len(labels), 32, 32, 3), "uint8")
        return tf.data.Dataset.from_tensor_slices((images, labels)).batch(2), None
    return np.zeros((len(labels), 32, 32, 3), "uint8"), labels


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [(dtype, "array") for dtype in ("uint8", object, list)]
    + [pytest.param("uint8", "data set")]
    + [pytest.param(each, "data set", marks=pytest.mark.slow) for each in ("int8", "uint64")],
)
def test_whole_numbers_of_any_type_are_labels_under_any_number_of_classes(dtype, kind):
    labels = [0, 1, 2, 100] if dtype is list else np.array([0, 1, 2, 100], dtype)
    classifier = small_model().with_margin_head(300, head="arcface")
    classifier.compile("sgd", LOSS, metrics=["accuracy"], run_eagerly=dtype != "uint8")
    images, labels = given(kind, labels)
    losses = classifier.fit(images, labels, verbose=0, shuffle=False).history["loss"]
    assert np.isfinite(losses).all()


NAMES = ["cat", "dog", "cat", "dog"]


@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch", "test_on_batch", "val"])
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (NAMES, "labels must be whole numbers from 0 to 4, not names"),
        (np.array(NAMES, object), "not names such as 'cat'"),
        (np.array([True, False] * 2), "not bool"),
    ],
)
def test_names_as_labels_are_one_line_that_says_how_to_number_them(method, labels, message):
    classifier = small_model().with_margin_head(5, head="arcface")
    classifier.compile("sgd", LOSS)
    images = np.zeros((4, 32, 32, 3), "uint8")
    with pytest.raises(ValueError, match=message) as caught:
        if method == "val":
            right = np.array([0, 1, 2, 3])
            classifier.fit(images, right, validation_data=(images, labels), verbose=0)
        else:
            getattr(classifier, method)(images, labels)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize(("labels", "what"), [(NAMES, "names"), ([True, False] * 2, "bool")])
def test_a_data_set_of_names_is_one_line_as_well(labels, what):
    classifier = small_model().with_margin_head(5, head="arcface")
    classifier.compile("sgd", LOSS, metrics=["accuracy"])
    with pytest.raises(ValueError, match=f"^labels must be .*, not {what}.*") as caught:
        classifier.fit(given("data set", labels)[0], verbose=0)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300

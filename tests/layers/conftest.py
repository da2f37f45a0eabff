"""How near a layer comes to its formula, on any processor.

The formulas are in float64. The layers compute in float32: each product, sum and power is off by
up to 6e-8 of its value. The tests add up 512 terms at most, whose errors mostly cancel, so a result
is off by some 1e-6 of its largest term in any order of summation. The bounds are ten times that:
`rtol=1e-5`, and an `atol` of as much for a value that is the small difference of larger ones, so
times the scale of the logits or the largest gradient. Where a root, an arc cosine or a second layer
multiplies the error, they are ten times wider. An error of the formula shows at 1e-2.

The margin heads are worse conditioned near 0 and 180 degrees. Let e be the error of a cosine
(`bounds.cosine_error`, 3e-6 for the 6 dimensions of `draw`) and s the sine of the angle to the
right class. Then a logit is off by scale · e / s, so by 3e-5 · scale where s is 0.1, and a gradient
by e / s² of itself, so by 6e-5 where s is 0.2. `draw` bounds s from below for each.
"""

import keras
import numpy as np
import pytest


@pytest.fixture
def reloaded(tmp_path):
    """Saves a one-layer model to a file, with other weights than a new layer has, and loads it."""

    def reload(layer, *shapes):
        inputs = [keras.Input(shape) for shape in shapes]
        if len(inputs) == 1:
            (inputs,) = inputs
        model = keras.Model(inputs, layer(inputs))
        for i, weight in enumerate(model.weights):
            weight.assign(weight + 0.01 * (i + 1))
        model.save(tmp_path / "model.keras")
        return model, keras.models.load_model(tmp_path / "model.keras")

    return reload


# of the margin heads


@pytest.fixture
def draw(rng):
    """Draws descriptors, centers and labels; the first's center is opposite, the second's near.

    The sine of the angle between them is `sine` at least, and that of all others is larger.
    """

    def draw(batch=5, dim=6, classes=7, sine=0.1):
        descriptors = rng.standard_normal((batch, dim)).astype("float32")
        centers = rng.standard_normal((classes, dim)).astype("float32")
        labels = rng.permutation(classes)[:batch]
        along = descriptors[:2] / np.linalg.norm(descriptors[:2], axis=1, keepdims=True)
        across = rng.standard_normal((2, dim))
        across -= (across * along).sum(axis=1, keepdims=True) * along
        across /= np.linalg.norm(across, axis=1, keepdims=True)
        centers[labels[:2]] = [[-3], [2]] * (np.sqrt(1 - sine**2) * along + sine * across)
        return descriptors, centers, labels

    return draw


@pytest.fixture(params=["in one call", "put on afterwards"])
def with_labels(request):
    """The logits of a margin head in training, in either way that there is."""
    if request.param == "in one call":
        return lambda head, descriptors, labels: head([descriptors, labels], training=True)
    return lambda head, descriptors, labels: head.add_margin(
        head(descriptors, training=True), labels, training=True
    )


@pytest.fixture
def gradients(with_labels):
    """Those of the weighted sum of a head's logits, by the descriptors and by the centers."""
    tf = pytest.importorskip("tensorflow")

    def gradients(head, descriptors, labels, weights):
        with tf.GradientTape() as tape:
            inputs = tf.constant(descriptors)
            tape.watch(inputs)
            logits = with_labels(head, inputs, labels)
            total = tf.reduce_sum(logits * weights.astype("float32"))
        return tape.gradient(total, [inputs, head.centers.value])

    return gradients


@pytest.fixture
def slopes():
    """Those of a formula's sum by each of its arguments: central differences in float64."""

    def slopes(formula, *arguments, step=1e-6):
        values = [np.array(argument, np.float64) for argument in arguments]
        found = [np.empty_like(value) for value in values]
        for value, slope in zip(values, found, strict=True):
            for place in np.ndindex(value.shape):
                value[place] += step
                above = np.sum(formula(*values))
                value[place] -= 2 * step
                below = np.sum(formula(*values))
                value[place] += step
                slope[place] = (above - below) / (2 * step)
        return found

    return slopes

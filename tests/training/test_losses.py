import keras
import pytest

from dolg_zoo.training.losses import SmoothedCrossentropy


@pytest.mark.parametrize("smoothing", [0.0, 0.05, 0.5])
def test_it_is_keras_loss_of_one_hot_labels(rng, smoothing):
    logits = rng.normal(0, 20, (16, 7)).astype("float32")
    labels = rng.integers(0, 7, 16)
    keras_loss = keras.losses.CategoricalCrossentropy(True, label_smoothing=smoothing)
    expected = keras_loss(keras.ops.one_hot(labels, 7), logits)
    found = SmoothedCrossentropy(smoothing)(labels, logits)
    # sums of seven float32 near 20: 1e-6 of them on any processor
    assert float(found) == pytest.approx(float(expected), rel=1e-5)

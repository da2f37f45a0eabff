import keras
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

import keras
import pytest


@pytest.fixture(autouse=True, scope="module")
def _forget_models():
    yield
    keras.backend.clear_session()


@pytest.fixture
def randomise(rng):
    """Gives every variable of a model a value that a new model does not have."""

    def randomise(model):
        for variable in model.weights:
            shape = tuple(variable.shape)
            if variable.name in ("gamma", "moving_variance"):
                variable.assign(rng.uniform(0.5, 1.5, shape))
            elif variable.name in ("beta", "bias", "moving_mean"):
                variable.assign(rng.normal(0, 0.1, shape))
        return model

    return randomise


@pytest.fixture
def photo(rng):
    """One RGB image (1, height, width, 3) in [0, 255]."""
    return lambda height, width: rng.uniform(0, 255, (1, height, width, 3))

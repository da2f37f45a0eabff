import numpy as np
import pytest


def exact_search(gallery):
    """Brute force: the callable that the ranking functions take."""

    def search(queries, k):
        scores = queries @ gallery.T
        places = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, places, axis=1), places

    return search


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture
def gallery(rng):
    """60 images around 8 places, with some noise."""
    places = rng.standard_normal((8, 16))
    return unit(places[rng.integers(0, 8, 60)] + 0.8 * rng.standard_normal((60, 16)))


@pytest.fixture
def queries(rng, gallery):
    return unit(gallery[:7] + 0.2 * rng.standard_normal((7, 16)))


@pytest.fixture
def search(gallery):
    return exact_search(gallery)

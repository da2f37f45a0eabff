import numpy as np
import pytest
from unit_rows import unit


@pytest.fixture
def gallery(rng):
    """60 images of 8 places."""
    places = rng.standard_normal((8, 16))
    return unit(places[rng.integers(0, 8, 60)] + 0.8 * rng.standard_normal((60, 16)))


@pytest.fixture
def queries(rng, gallery):
    return unit(gallery[:7] + 0.2 * rng.standard_normal((7, 16)))


@pytest.fixture
def search_of():
    """Brute force in a gallery, as the callable that the functions take."""

    def of(gallery):
        def search(queries, k):
            scores = queries @ np.asarray(gallery, np.float32).T
            places = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            return np.take_along_axis(scores, places, axis=1), places

        return search

    return of


@pytest.fixture
def search(gallery, search_of):
    return search_of(gallery)

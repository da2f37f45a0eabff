import numpy as np
import pytest
from bounds import COSINE

from dolg_zoo.retrieval.search.ranking import augment_database, expansion


def augmented_by_hand(gallery, n, alpha):
    gallery = gallery.astype(float)
    augmented = []
    for own in range(len(gallery)):
        others = [place for place in range(len(gallery)) if place != own]
        cosines = {place: float(gallery[own] @ gallery[place]) for place in others}
        total = gallery[own].copy()
        for place in sorted(others, key=lambda place: -cosines[place])[:n]:
            total += max(0.0, cosines[place]) ** alpha * gallery[place]
        augmented.append(total / np.sqrt((total**2).sum()))
    return augmented


@pytest.mark.parametrize(("n", "alpha"), [(1, 3.0), (10, 3.0), (5, 0), (59, 2.0), (1000, 2.0)])
def test_each_image_gains_its_nearest_others(gallery, search, n, alpha):
    found = augment_database(gallery, search, n, alpha)
    np.testing.assert_allclose(found, augmented_by_hand(gallery, n, alpha), atol=COSINE)


def test_blocks_change_nothing(gallery, search, monkeypatch):
    whole = augment_database(gallery, search)
    monkeypatch.setattr(expansion, "ROWS", 7)
    np.testing.assert_allclose(augment_database(gallery, search), whole, atol=COSINE)


def test_of_equal_images_each_gains_the_other(search_of):
    gallery = np.float32([[1, 0], [1, 0], [0, 1]])
    found = augment_database(gallery, search_of(gallery), n=1, alpha=0)
    expected = [[1, 0], [1, 0], [2**-0.5, 2**-0.5]]  # the third gains the first
    np.testing.assert_allclose(found, expected, atol=COSINE)


def test_a_search_that_leaves_out_the_image_itself_gives_the_same(gallery, search):
    def others(rows, k):
        scores, places = search(rows, 60)
        kept = places != np.arange(len(rows))[:, None]
        scores, places = scores[kept].reshape(-1, 59), places[kept].reshape(-1, 59)
        return scores[:, :k], places[:, :k]

    np.testing.assert_array_equal(
        augment_database(gallery, others, 5), augment_database(gallery, search, 5)
    )


def test_a_gallery_of_one_image_stays_as_it_is(search_of):
    gallery = np.float32([[0.6, 0.8]])
    np.testing.assert_allclose(augment_database(gallery, search_of(gallery)), gallery)

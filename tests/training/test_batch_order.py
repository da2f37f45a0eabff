"""Which images make up a batch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolg_zoo.training.data import batch_indices, steps_per_epoch


def test_an_epoch_has_no_image_twice():
    indices = batch_indices(np.zeros(103, int), 10, seed=0, epoch=0)
    assert indices.shape == (10, 10)
    assert len(np.unique(indices)) == 100
    assert indices.min() >= 0 and indices.max() < 103


@pytest.mark.parametrize("balanced", [False, True])
def test_seed_and_epoch_say_all(balanced):
    labels = np.arange(60) % 7

    def draw(seed, epoch):
        return batch_indices(labels, 8, seed, epoch, balanced).tolist()

    assert draw(1, 2) == draw(1, 2)
    assert draw(1, 2) != draw(1, 3)
    assert draw(1, 2) != draw(2, 2)


@pytest.mark.parametrize("balanced", [False, True])
def test_fewer_images_than_a_batch_are_repeated_evenly(balanced):
    (batch,) = batch_indices(np.array([0, 1, 2]), 8, 0, 0, balanced)
    assert sorted(np.bincount(batch)) == [2, 3, 3]


def test_the_images_are_mixed():
    indices = batch_indices(np.zeros(1000, int), 10, 0, 0).ravel()
    # two random orders of n agree in rank by ±1/sqrt(n)
    assert abs(np.corrcoef(indices, np.arange(1000))[0, 1]) < 0.1


@given(
    counts=st.lists(st.integers(0, 12), min_size=1, max_size=9).filter(any),
    images_per_class=st.integers(1, 4),
    groups=st.integers(1, 10),
    seed=st.integers(0, 2**32),
)
def test_balanced_classes_and_their_images_come_equally_often(
    counts, images_per_class, groups, seed
):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    batch_size = images_per_class * groups
    batches = batch_indices(labels, batch_size, seed, 0, True, images_per_class)
    together = labels[batches].reshape(-1, images_per_class)
    assert (together == together[:, :1]).all()
    indices = batches.ravel()
    assert len(indices) == steps_per_epoch(len(labels), batch_size) * batch_size
    of_class = np.bincount(labels[indices], minlength=len(counts))
    present = np.flatnonzero(counts)
    assert np.ptp(of_class[present]) <= images_per_class
    assert of_class.sum() == of_class[present].sum()
    of_image = np.bincount(indices, minlength=len(labels))
    assert all(np.ptp(of_image[labels == number]) <= 1 for number in present)


def test_balanced_batches_mix_the_classes():
    labels = np.repeat(np.arange(4), [100, 10, 10, 8])
    batches = batch_indices(labels, 8, 0, 0, balanced=True)
    assert all(np.bincount(labels[batch], minlength=4).tolist() == [2] * 4 for batch in batches)
    orders = {tuple(labels[batch][:4]) for batch in batches}
    assert len(orders) > 4


def test_balanced_epochs_differ_in_the_images_of_a_large_class():
    labels = np.repeat([0, 1], [1000, 10])
    first, second = (
        set(batch_indices(labels, 10, 0, epoch, balanced=True)[:5].ravel()) for epoch in (0, 1)
    )
    assert len({index for index in first & second if labels[index] == 0}) < 5


@pytest.mark.parametrize(
    ("images", "batch_size", "steps"), [(100, 10, 10), (109, 10, 10), (3, 10, 1)]
)
def test_steps_of_an_epoch(images, batch_size, steps):
    assert steps_per_epoch(images, batch_size) == steps

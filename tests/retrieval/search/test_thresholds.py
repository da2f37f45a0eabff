"""A threshold takes what is at it up to the rounding of float32, at every entry point."""

import numpy as np
import pytest
from plain_embedder import PlainEmbedder
from unit_rows import unit, unit_rows

from dolg_zoo.drawing.map import positions
from dolg_zoo.retrieval import Index

DIMS = (12, 512, 2048)


def index_of(descriptors, kind="exact"):
    model = PlainEmbedder()
    model.descriptor_dim = descriptors.shape[1]
    names = [f"{number}.jpg" for number in range(len(descriptors))]
    return Index(model, names, descriptors, kind=kind)


def found_within(index, rows, threshold):
    return [len(found) for found in index.within_descriptors(rows, threshold)]


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("kind", ["exact", "hnsw"])
def test_at_one_the_equal_are_found_and_nothing_else(rng, dim, kind):
    rows = unit_rows(rng, 60, dim)
    near = rows + 4e-3 / dim**0.5 * rng.choice([-1, 1], size=rows.shape)  # a cosine of 1 - 8e-6
    index = index_of(np.concatenate([rows, unit(near), rows]), kind)
    assert found_within(index, rows.astype(np.float64), 1) == [2] * 60
    assert [len(group) for group in index.duplicates(1)] == [2] * 60


@pytest.mark.parametrize("dim", DIMS)
def test_no_cosine_exceeds_one(rng, dim):
    rows = unit_rows(rng, 60, dim)
    index = index_of(np.concatenate([rows, rows, -rows]))
    found = [*index.search_descriptors(rows, 180), *index.within_descriptors(rows, -1)]
    found += index.duplicates(-1)
    scores = [match.score for matches in found for match in matches]
    assert min(scores) == -1 and max(scores) == 1
    assert found_within(index, rows, -1) == [180] * 60  # the opposite too


def test_a_score_that_was_printed_finds_its_image_again(rng):
    rows = unit_rows(rng, 60, 64)
    index = index_of(rows)
    for match in index.search_descriptors(rows[:1], 60)[0]:
        (found,) = index.within_descriptors(rows[:1], round(match.score, 6))
        assert match.name in [each.name for each in found]


def test_the_map_puts_the_equal_in_one_place(rng):
    rows = unit_rows(rng, 60, 2048)
    layout = positions(np.concatenate([rows, rows]))
    np.testing.assert_array_equal(layout[:60], layout[60:])


def test_similarities_do_not_exceed_one(rng):
    images = rng.integers(0, 256, (50, 32, 32, 3), np.uint8)
    found = PlainEmbedder().similarity(images)
    assert found.max() <= 1 and found.min() >= -1

import re
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from dolg_zoo.drawing.map import draw_map, positions
from dolg_zoo.drawing.style import save_figure
from dolg_zoo.preprocessing.files import folder_labels


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def clusters(rng):
    """Three groups of descriptors, far apart."""
    middles = np.eye(3, 16).repeat(12, axis=0)
    return unit(middles + rng.normal(0, 0.05, middles.shape)).astype("float32")


class Gallery(SimpleNamespace):
    def __len__(self):
        return len(self.names)


def test_the_alike_lie_near_each_other(clusters):
    places = positions(clusters).reshape(3, 12, 2)
    middles = places.mean(axis=1)
    within = np.linalg.norm(places - middles[:, None], axis=-1).max()
    between = min(np.linalg.norm(middles[a] - middles[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
    assert between > 2 * within


def test_the_same_descriptors_have_the_same_position(clusters):
    np.testing.assert_array_equal(positions(clusters), positions(clusters))


COUNTS = [1, 2, 3, 4, 5, 10, 60, 265, pytest.param(5000, marks=pytest.mark.slow)]


def pairs(rng, count, noise):
    """Descriptors in pairs of similar ones, each pair another direction in 64 dimensions."""
    rows = rng.normal(size=(-(-count // 2), 64)).repeat(2, axis=0)[:count]
    return unit(unit(rows) + rng.normal(0, noise, (count, 64))).astype("float32")


@pytest.mark.parametrize("count", COUNTS)
def test_copies_share_a_position_the_similar_are_near_and_both_axes_have_one_scale(rng, count):
    originals = pairs(rng, count, 0.01)
    # rounding of float32 differs between processors, and between an image in a batch and alone
    rounding = rng.normal(0, 3e-8, originals[:3].shape).astype("float32")
    places = positions(np.concatenate([originals, originals[:3], originals[:3] + rounding]))
    copied = places[: min(3, count)]
    for copies in np.split(places[count:], 2):
        np.testing.assert_array_equal(copies, copied)
    low, high = places.min(axis=0), places.max(axis=0)
    assert low.min() >= 0 and high.max() <= 1
    np.testing.assert_allclose((low + high) / 2, 0.5, atol=1e-9)  # float64: off by 1e-16
    if count > 1:
        assert np.isclose((high - low).max(), 1)
    if count > 2:
        apart = np.linalg.norm(places[0 : count - 1 : 2] - places[1:count:2], axis=1)
        assert apart.max() < 0.15


@pytest.mark.parametrize("count", [2, 3, 4, 5, 10, 60])
def test_a_few_points_of_a_plane_keep_their_distances(count):
    angles = np.linspace(0.5, 1.2, count) ** 2
    around = unit(np.stack([np.cos(angles), np.sin(angles), np.ones(count)], axis=1))
    places = positions(around)
    distances = np.linalg.norm(around[:, None] - around, axis=-1)
    drawn = np.linalg.norm(places[:, None] - places, axis=-1)
    # float64 on every processor: errors of 1e-15 in the values, 1e-8 in small distances
    np.testing.assert_allclose(drawn * distances.max() / drawn.max(), distances, atol=1e-6)


@pytest.mark.parametrize("count", [2, 3, 4, 5, 10, 60])
def test_a_few_lie_at_one_place_whatever_the_rounding(rng, count):
    rows = pairs(rng, count, 0.02)
    rounded = rows + rng.normal(0, 3e-8, rows.shape).astype("float32")
    # the directions of these rows are apart enough for rounding to turn the axes by 1e-6 at most
    np.testing.assert_allclose(positions(rows), positions(rounded), atol=1e-4)


def test_of_three_in_a_line_the_middle_one_is_in_the_middle():
    angles = np.array([0.0, 0.2, 0.4])
    places = positions(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    assert sorted(places[[0, 2], 0]) == [0, 1] and 0.4 < places[1, 0] < 0.6


def test_a_chain_of_close_descriptors_is_not_one_group():
    angles = np.linspace(0, 0.1, 400)  # neighbours are 0.00025 apart
    places = positions(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    assert 40 < len(np.unique(places, axis=0)) < 400


def test_equal_descriptors_lie_in_one_place():
    places = positions(np.tile(np.eye(1, 8), (3, 1)))
    np.testing.assert_array_equal(places, 0.5)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a/1.png", "b/x/2.png"], ["a", "b"]),
        (["a/1.png", "a/2.png"], None),
        (["a/1.png", "2.png"], None),
        (["a /1.png", "u\u0308/2.png"], ["a", "\u00fc"]),
        ([], None),
    ],
)
def test_labels_are_the_subfolders_where_all_are_in_one_of_several(names, expected):
    assert folder_labels(names) == expected


def test_the_map_names_its_labels_and_shows_thumbnails(clusters, tmp_path):
    names = [f"{'abc'[n // 12]}$x/{n}.png" for n in range(36)]
    for name in names[::2]:  # the others have gone since
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 20), "red").save(tmp_path / name)
    figure = draw_map(Gallery(names=names, descriptors=clusters, folder=tmp_path))
    save_figure(figure, tmp_path / "map.svg")
    text = (tmp_path / "map.svg").read_text()
    said = re.findall(r"<text[^>]*>([^<]*)</text>", text)
    assert {"a$x", "b$x", "c$x"} <= set(said) and "36 images, similar ones near each other" in said
    assert 3 <= text.count("<image") <= 18


def test_labels_must_be_as_many_as_the_images(clusters, tmp_path):
    several = Gallery(names=["1.png", "2.png"], descriptors=clusters[:2], folder=tmp_path)
    with pytest.raises(ValueError, match="There are 1 labels for 2 images"):
        draw_map(several, ["one"])


def test_of_nothing_there_is_no_map(tmp_path):
    with pytest.raises(ValueError, match="no image"):
        draw_map(Gallery(names=[], descriptors=np.zeros((0, 4)), folder=tmp_path))

import math

import numpy as np
import pytest
from PIL import Image

from dolg_zoo.preprocessing import BadImageError, Crop, load_image

PIXELS = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)


def test_a_box_is_cut_to_integers():
    found = load_image(Crop(PIXELS, (3.9, 5.2, 20.7, 30.99)))
    assert np.array_equal(found, PIXELS[5:30, 3:20])


def test_a_box_beyond_the_image_is_cut_at_its_edges():
    assert np.array_equal(load_image(Crop(PIXELS, (-4, 30, 1000, 1000))), PIXELS[30:])


def test_the_box_is_in_the_upright_image(tmp_path):
    turned = Image.fromarray(PIXELS)
    exif = Image.Exif()
    exif[274] = 6  # to be turned clockwise by 90 degrees when shown
    turned.save(tmp_path / "turned.png", exif=exif)
    found = load_image(Crop(tmp_path / "turned.png", (0, 0, 10, 4)))
    assert np.array_equal(found, np.rot90(PIXELS, -1)[:4, :10])


@pytest.mark.parametrize("box", [(60, 0, 80, 9), (0, -9, 9, 0), (5.1, 5, 5.9, 9)])
def test_a_box_without_a_pixel_of_the_image_is_a_bad_image(box):
    with pytest.raises(BadImageError, match=r"box .* holds no pixel of an image of 53 x 37"):
        load_image(Crop(PIXELS, box))


def test_a_bad_image_is_named_without_its_box(tmp_path):
    with pytest.raises(BadImageError) as caught:
        load_image(Crop(tmp_path / "none.jpg", (0, 0, 9, 9)))
    assert caught.value.source == str(tmp_path / "none.jpg")


def test_no_box_is_cut_from_an_image_that_would_be_shrunk(tmp_path):
    # its coordinates would lie elsewhere
    Image.fromarray(PIXELS).save(tmp_path / "large.jpg")
    assert load_image(tmp_path / "large.jpg", max_pixels=1000).size == (27, 19)
    with pytest.raises(BadImageError, match="more than the limit of 1000"):
        load_image(Crop(tmp_path / "large.jpg", (0, 0, 9, 9)), max_pixels=1000)


@pytest.mark.parametrize(
    "box",
    [
        *((5, 5, 5, 9), (9, 5, 5, 9), (0, 9, 9, 9), (0, 9), 5),
        *((0, 0, math.nan, 9), (0, 0, math.inf, 9), (0, 0, 10**400, 9)),
    ],
)
def test_a_box_that_is_none_is_refused_at_once(box):
    with pytest.raises(ValueError, match=r"box must be four numbers"):
        Crop(PIXELS, box)


def test_a_crop_of_a_crop_is_refused():
    with pytest.raises(ValueError, match="one box of the image itself"):
        Crop(Crop(PIXELS, (0, 0, 9, 9)), (0, 0, 5, 5))

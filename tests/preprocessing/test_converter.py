"""Sizes and resampling; expected pixels are sums written out in NumPy."""

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dolg_zoo.preprocessing import ImageConverter

PIXELS = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
IMAGE = Image.fromarray(PIXELS)


def sampled(n_in, n_out):
    """Matrix (n_out, n_in) of linear interpolation between pixel centres, held at the edges."""
    at = np.clip((np.arange(n_out) + 0.5) * n_in / n_out - 0.5, 0, n_in - 1)
    return np.clip(1 - np.abs(at[:, None] - np.arange(n_in)), 0, None)


def averaged(n_in, n_out):
    """Matrix (n_out, n_in) of the triangle filter that widens with the shrinking."""
    step = n_in / n_out
    centre = (np.arange(n_out) + 0.5) * step
    weight = np.clip(1 - np.abs(np.arange(n_in) + 0.5 - centre[:, None]) / max(step, 1), 0, None)
    return weight / weight.sum(axis=1, keepdims=True)


def filtered(pixels, matrix, height, width):
    rows, columns = matrix(pixels.shape[0], height), matrix(pixels.shape[1], width)
    return np.einsum("yi,xj,ijc->yxc", rows, columns, pixels)


# The size


@pytest.mark.parametrize(
    ("settings", "scale", "expected"),
    [
        ({"size": 224}, 1.0, (224, 224)),
        ({"size": (200, 300)}, 1.0, (300, 200)),  # the setting is (height, width)
        ({"size": 224}, 0.7071, (158, 158)),
        ({"size": 224, "mode": "short_side"}, 1.0, (299, 224)),
        ({"size": 224, "mode": "long_side"}, 1.0, (224, 168)),
        ({"size": 224, "mode": "short_side"}, 2.0, (597, 448)),  # 597.33, not 2 x 299
        ({"size": None, "mode": "original"}, 1.0, (1024, 768)),
        ({"size": None, "mode": "original"}, 0.3535, (362, 271)),
        ({"size": None, "mode": "original"}, 1.4142, (1448, 1086)),
        ({"size": 1024, "mode": "max_side"}, 1.0, (1024, 768)),
        ({"size": 1023, "mode": "max_side"}, 1.0, (1023, 767)),
        ({"size": 2000, "mode": "max_side"}, 0.3535, (362, 271)),
        ({"size": 512, "mode": "max_side"}, 1.4142, (724, 543)),
        ({"size": 224, "mode": "long_side", "multiple_of": 32}, 1.0, (224, 160)),
        ({"size": None, "mode": "original", "multiple_of": 100}, 1.0, (1000, 800)),
        ({"size": 10, "multiple_of": 32}, 1.0, (32, 32)),
    ],
)
def test_target_size_of_1024_x_768(settings, scale, expected):
    assert ImageConverter(**settings).target_size(1024, 768, scale) == expected


@pytest.mark.parametrize(("width", "height"), [(5000, 1), (1, 5000)])
def test_the_long_side_of_a_sliver_is_at_most_four_times_the_short_one(width, height):
    size = ImageConverter(224, "short_side").target_size(width, height)
    assert sorted(size) == [224, 896]


def test_a_sliver_keeps_one_pixel():
    assert ImageConverter(224, "long_side").target_size(5000, 1) == (224, 1)


SIDES = st.integers(1, 30000)
CONVERTERS = st.builds(
    ImageConverter,
    size=st.integers(1, 2048),
    mode=st.sampled_from(["squash", "short_side", "long_side"]),
    multiple_of=st.sampled_from([1, 2, 14, 32]),
) | st.builds(
    ImageConverter,
    size=st.none(),
    mode=st.just("original"),
    multiple_of=st.sampled_from([1, 2, 14, 32]),
)


@given(CONVERTERS, SIDES, SIDES, st.floats(0.01, 4))
def test_both_sides_are_positive_multiples(converter, width, height, scale):
    for side in converter.target_size(width, height, scale):
        assert isinstance(side, int)
        assert side > 0
        assert side % converter.multiple_of == 0


@given(CONVERTERS, SIDES, SIDES)
def test_the_size_is_bounded_by_the_setting(converter, width, height):
    bound = max(width, height) if converter.size is None else 4 * converter.size
    assert max(converter.target_size(width, height)) <= bound + converter.multiple_of


@given(
    st.integers(1, 2048),
    st.sampled_from(["short_side", "long_side"]),
    SIDES,
    st.floats(0.25, 4),
    st.floats(0.5, 2),
)
def test_the_aspect_ratio_is_kept_to_a_pixel(size, mode, width, ratio, scale):
    height = max(1, min(math.floor(width * ratio), 4 * width))
    if width > 4 * height:
        height = math.ceil(width / 4)
    new_width, new_height = ImageConverter(size, mode).target_size(width, height, scale)
    side = min if mode == "short_side" else max
    assert abs(side(new_width, new_height) - size * scale) <= 0.5 + 1e-6
    exact = size * scale / side(width, height)
    assert abs(new_width - max(1, width * exact)) <= 0.5 + 1e-6
    assert abs(new_height - max(1, height * exact)) <= 0.5 + 1e-6


@given(CONVERTERS, SIDES, SIDES)
def test_a_turned_image_gets_the_turned_size(converter, width, height):
    assert converter.target_size(width, height) == converter.target_size(height, width)[::-1]


@pytest.mark.parametrize("scale", [0, -1, math.nan, math.inf])
def test_a_scale_that_is_not_positive_is_refused(scale):
    with pytest.raises(ValueError, match="scale"):
        ImageConverter().target_size(10, 10, scale)


# The pixels


def test_the_result_is_an_rgb_array_of_the_target_size():
    result = ImageConverter((20, 30))(IMAGE)
    assert (result.dtype, result.shape) == (np.uint8, (20, 30, 3))


def test_the_original_size_changes_no_pixel():
    assert np.array_equal(ImageConverter(None, "original")(IMAGE), PIXELS)


@pytest.mark.parametrize("size", [(12, 17), (74, 106), (13, 91)])
def test_bilinear_with_antialias_averages_what_a_pixel_covers(size):
    result = ImageConverter(size)(IMAGE)
    assert np.abs(result - filtered(PIXELS, averaged, *size)).max() <= 1.01


@pytest.mark.parametrize("size", [(12, 17), (74, 106), (13, 91), (36, 52)])
def test_bilinear_without_antialias_samples_between_pixel_centres(size):
    result = ImageConverter(size, antialias=False)(IMAGE)
    assert np.abs(result - filtered(PIXELS, sampled, *size)).max() <= 0.501


def test_max_side_leaves_an_image_that_fits_as_it_is():
    assert np.array_equal(ImageConverter(53, "max_side", antialias=False)(IMAGE), PIXELS)


def test_max_side_shrinks_with_antialias_before_it_samples():
    converter = ImageConverter(26, "max_side", antialias=False)
    shrunk = filtered(PIXELS, averaged, 18, 26)
    assert np.abs(converter(IMAGE) - shrunk).max() <= 1
    found = converter(IMAGE, scale=0.5)
    assert np.abs(found - filtered(shrunk, sampled, 9, 13)).max() <= 1.5


def test_bicubic_without_antialias_continues_a_parabola():
    # Keys' kernel with a = -1/2 reproduces quadratic functions, away from the edges.
    x = np.arange(60)
    row = np.rint(200 - (x - 30) ** 2 / 8).astype(np.uint8)
    image = Image.fromarray(np.broadcast_to(row[None, :, None], (60, 60, 3)).copy())
    result = ImageConverter((60, 150), interpolation="bicubic", antialias=False)(image)
    at = (np.arange(150) + 0.5) * 60 / 150 - 0.5
    error = np.abs(result[30, 10:-10, 0] - (200 - (at - 30) ** 2 / 8)[10:-10])
    assert error.max() <= 1.2  # the rounding of the input and that of the output


def test_bicubic_with_antialias_keeps_a_step_sharper_than_bilinear():
    pixels = np.full((64, 64, 3), 50, np.uint8)
    pixels[:, 32:] = 200
    step = Image.fromarray(pixels)
    bicubic = ImageConverter(24, interpolation="bicubic")(step)
    bilinear = ImageConverter(24)(step)
    assert bicubic.max() > 200
    assert bilinear.max() == 200


def test_scale_multiplies_the_size():
    assert ImageConverter(100)(IMAGE, scale=0.5).shape == (50, 50, 3)


def test_an_image_in_another_mode_is_refused():
    with pytest.raises(ValueError, match="mode RGB, not L"):
        ImageConverter()(IMAGE.convert("L"))


def test_the_array_can_be_written_to():
    ImageConverter(None, "original")(IMAGE)[0, 0] = 1


# The settings


@pytest.mark.parametrize(
    "converter",
    [
        ImageConverter(),
        ImageConverter((200, 300), "squash", 32, "bicubic", False, (0.5, 1.0), True),
        ImageConverter(None, "original"),
    ],
)
def test_settings_survive_json(converter):
    config = json.loads(json.dumps(converter.to_config()))
    assert ImageConverter.from_config(config) == converter


def test_the_config_has_every_setting():
    assert ImageConverter((200, 300), "squash", 32, "bicubic", False).to_config() == {
        "size": [200, 300],
        "mode": "squash",
        "multiple_of": 32,
        "interpolation": "bicubic",
        "antialias": False,
        "scales": [1.0],
        "crop_queries": False,
    }


def test_a_key_left_out_has_its_default():
    assert ImageConverter.from_config({"size": 512}) == ImageConverter(512)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("size", 0),
        ("size", -1),
        ("size", 224.0),
        ("size", "224"),
        ("size", True),
        ("size", None),
        ("size", 10**9),
        ("size", [224]),
        ("size", [224, 0]),
        ("size", [224, 224, 3]),
        ("mode", "stretch"),
        ("mode", None),
        ("mode", ["squash"]),
        ("multiple_of", 0),
        ("multiple_of", 32.0),
        ("multiple_of", None),
        ("interpolation", "nearest"),
        ("interpolation", ["bilinear"]),
        ("antialias", 1),
        ("antialias", "false"),
        ("scales", 1.0),
        ("scales", []),
        ("scales", [0]),
        ("scales", [1.0, "2"]),
        ("scales", [8.5]),
        ("scales", [float("nan")]),
        ("scales", [1.0] * 17),
        ("crop_queries", 1),
        ("colour", "rgb"),
        (3, 4),
    ],
)
def test_a_wrong_setting_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=str(name)):
        ImageConverter.from_config({name: value})


@pytest.mark.parametrize(
    ("size", "mode"),
    [
        (224, "original"),
        ((200, 300), "short_side"),
        ((200, 300), "long_side"),
        (None, "squash"),
        (None, "max_side"),
    ],
)
def test_a_size_that_its_mode_cannot_use_is_refused(size, mode):
    with pytest.raises(ValueError, match=f"size .* mode '{mode}'"):
        ImageConverter(size, mode)


@pytest.mark.parametrize("config", [None, [], "squash"])
def test_settings_that_are_no_dict_are_refused(config):
    with pytest.raises(ValueError, match="dict"):
        ImageConverter.from_config(config)


def test_a_converter_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ImageConverter().size = 10

"""The backbone gets the pixels that keras-hub gives it; skipped where that is not installed."""

import keras
import numpy as np
import pytest
from PIL import Image

from dolg_zoo.models import DOLGConfig, DOLGNet
from dolg_zoo.preprocessing import ImageConverter, keras_hub_preprocessing

keras_hub = pytest.importorskip("keras_hub", reason="keras-hub is not installed")

SCALE = (1 / 255 / 0.229, 1 / 255 / 0.224, 1 / 255 / 0.225)
OFFSET = (-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225)


def converter(**settings):
    return keras_hub.layers.ImageConverter(
        **{"image_size": (64, 64), "crop_to_aspect_ratio": False, **settings}
    )


def reaching(mean, std):
    """What the backbone of a DOLGNet takes, for images in [0, 255]."""
    image = keras.Input((None, None, 3))
    maps = [keras.layers.Conv2D(3, 1, name=name)(image) for name in ("local", "global")]
    config = DOLGConfig(hidden_dim=4, dilation_rates=(), mean=mean, std=std)
    net = DOLGNet(keras.Model(image, maps), config=config)
    return keras.Model(net.input, net.get_layer("normalization").output)


def smooth(rng, height, width):
    noise = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype="uint8"))
    return noise.resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize(
    "settings",
    [
        {"scale": SCALE, "offset": OFFSET},
        {"scale": 1 / 127.5, "offset": -1.0, "interpolation": "bicubic", "antialias": True},
        {"scale": 1 / 255},
        {"offset": (-103.9, -116.8, -123.7)},
        {},
    ],
    ids=str,
)
def test_pixels_of_the_size_reach_the_backbone_as_they_do_in_keras_hub(settings, rng):
    theirs = converter(**settings)
    image = smooth(rng, 64, 64)
    expected = np.asarray(theirs(np.asarray(image, np.float32)))

    ours, mean, std = keras_hub_preprocessing(theirs)

    # float32 of values up to 255 * scale, with one addition more at most
    given = reaching(mean, std)(ours(image)[None])[0]
    np.testing.assert_allclose(given, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("interpolation", "antialias", "levels"),
    # half a level for rounding; Pillow rounds after the rows and after the columns, and its
    # coefficients to 8 bits; what bicubic overshoots by is cut off, as 8 bits hold 0 to 255
    [("bilinear", False, 0.51), ("bilinear", True, 1.01), ("bicubic", True, 1.5)],
)
@pytest.mark.parametrize("size", [(64, 64), (40, 72), (130, 150)])
def test_an_image_is_resized_as_in_keras_hub(interpolation, antialias, levels, size, rng):
    theirs = converter(image_size=size, interpolation=interpolation, antialias=antialias)
    image = smooth(rng, 100, 120)
    expected = np.clip(theirs(np.asarray(image, np.float32)), 0, 255)

    ours, _, _ = keras_hub_preprocessing(theirs)

    assert np.abs(ours(image) - expected).max() <= levels


@pytest.mark.parametrize("mode", ["short_side", "squash"])
def test_a_square_image_is_not_cropped_whatever_the_mode(mode, rng):
    theirs = converter(crop_to_aspect_ratio=True)
    image = smooth(rng, 100, 100)

    ours, _, _ = keras_hub_preprocessing(theirs, mode=mode)

    assert ours == ImageConverter(size=64, mode=mode, antialias=False)
    assert np.abs(ours(image) - theirs(np.asarray(image, np.float32))).max() <= 0.51


def test_without_a_size_images_keep_theirs():
    ours, _, _ = keras_hub_preprocessing(converter(image_size=None))

    assert ours == ImageConverter(size=None, mode="original")


@pytest.mark.parametrize(
    ("settings", "mode", "message"),
    [
        ({"interpolation": "lanczos3"}, None, "'lanczos3' with antialias=False"),
        ({"interpolation": "nearest", "antialias": True}, None, "'nearest'"),
        ({"interpolation": "bicubic"}, None, "'bicubic' with antialias=False.*antialias=True"),
        ({"crop_to_aspect_ratio": True}, None, "crop_to_aspect_ratio is True.*short_side"),
        ({"pad_to_aspect_ratio": True}, None, "pad_to_aspect_ratio is True.*short_side"),
        ({"scale": (1.0, 0.0, 1.0)}, None, "scale must be above 0"),
        ({"scale": -1 / 255}, None, "scale must be above 0"),
        ({"scale": (1.0, 1.0)}, None, "scale must be a number, or three"),
        ({"offset": float("nan")}, None, "offset must be a number, or three"),
        ({"image_size": (64, 32)}, "short_side", "two different sides"),
        ({"image_size": None}, "squash", "image_size is None"),
        ({}, "stretch", "mode must be one of"),
        ({"data_format": "channels_first"}, None, "channels last"),
    ],
)
def test_what_cannot_be_had_is_refused(settings, mode, message):
    with pytest.raises(ValueError, match=message):
        keras_hub_preprocessing(converter(**settings), mode=mode)


class Sliding(keras_hub.layers.ImageConverter):
    def call(self, inputs):
        return super().call(inputs)[:, 1:]


@pytest.mark.parametrize("strange", [None, "resnet", ImageConverter(), Sliding((8, 8))], ids=repr)
def test_what_is_no_converter_is_refused(strange):
    with pytest.raises(ValueError, match="must be a keras_hub"):
        keras_hub_preprocessing(strange)

import logging

import keras
import numpy as np
import pytest
from bounds import DESCRIPTOR
from unit_rows import unit, unit_rows

from dolg_zoo import DOLG, DOLGConfig, DOLGNet, ImageConverter
from dolg_zoo.backbones import two_taps
from dolg_zoo.retrieval import Index, whiten, whitening
from dolg_zoo.retrieval.whitening import pca_whitening

# Axes are found in float64 and kept as float32. Whitening divides by the root of a variance, the
# least of which is a thousandth of the largest here: it multiplies 1e-7 to some 1e-5. Bounds are
# ten times that.


@pytest.fixture
def descriptors(rng):
    """500 of length 12, that vary more along some directions than along others, about a mean."""
    mixed = rng.standard_normal((500, 12)) @ rng.standard_normal((12, 12)) + 3
    return unit(mixed)


@pytest.fixture(scope="module")
def model():
    """A small network with random weights, over a backbone of its own."""
    keras.utils.set_random_seed(3)
    images = keras.Input((None, None, 3))
    low = keras.layers.Conv2D(8, 5, 4, activation="relu", name="low")(images)
    high = keras.layers.Conv2D(12, 3, 2, activation="relu", name="high")(low)
    backbone = two_taps(keras.Model(images, high), "low", "high")
    config = DOLGConfig(dilation_rates=(), hidden_dim=16, descriptor_dim=12)
    return DOLG(DOLGNet(backbone, config=config), ImageConverter(size=32), {"name": "small"})


@pytest.fixture
def pictures(rng):
    return rng.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)


def test_in_full_the_covariance_is_the_identity(descriptors):
    kernel, bias = pca_whitening(descriptors, 9, power=0.5)
    whitened = descriptors.astype(float) @ kernel + bias
    np.testing.assert_allclose(np.cov(whitened.T), np.eye(9), atol=1e-4)
    np.testing.assert_allclose(whitened.mean(axis=0), 0, atol=1e-5)


@pytest.mark.parametrize("power", [0.0, 0.25, 0.5, 1.0])
def test_cosines_are_those_of_the_singular_value_decomposition(descriptors, power):
    kernel, bias = pca_whitening(descriptors, 5, power)
    assert (kernel.dtype, kernel.shape, bias.shape) == (np.float32, (12, 5), (5,))
    centred = descriptors.astype(float) - descriptors.astype(float).mean(axis=0)
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    expected = centred @ axes[:5].T / (singular[:5] ** 2 / 499) ** power
    found = descriptors @ kernel + bias
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, rtol=1e-3, atol=1e-4)


def test_a_memory_map_of_half_precision_is_read_in_blocks(descriptors, tmp_path, monkeypatch):
    np.save(tmp_path / "d.npy", descriptors.astype(np.float16))
    mapped = np.load(tmp_path / "d.npy", mmap_mode="r")
    whole = pca_whitening(np.array(mapped), 5)
    monkeypatch.setattr(whitening, "ROWS", 7)
    kernel, bias = pca_whitening(mapped, 5)
    np.testing.assert_allclose(np.abs(kernel), np.abs(whole[0]), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(np.abs(bias), np.abs(whole[1]), rtol=1e-3, atol=1e-4)


def test_a_whitened_model_gives_the_whitened_descriptors(model, pictures):
    before = model.embed(pictures)
    whitened = whiten(model, before, 5)
    kernel, bias = pca_whitening(before, 5)
    expected = unit(before @ kernel + bias)
    assert whitened.descriptor_dim == 5
    # whitening divides by standard deviations of 0.1 and less, and multiplies errors by as much
    np.testing.assert_allclose(whitened.embed(pictures), expected, atol=10 * DESCRIPTOR)


def test_the_model_that_it_was_made_of_stays_as_it_was(model, pictures):
    before, mark = model.embed(pictures), model.model_id
    whitened = whiten(model, before, 5)
    whitened.net.get_layer("descriptor").kernel.assign_add(np.ones((32, 12), "float32"))
    assert model.model_id == mark != whitened.model_id
    np.testing.assert_array_equal(model.embed(pictures), before)


def test_a_saved_whitened_preset_gives_the_same_descriptors_bit_for_bit(model, pictures, tmp_path):
    whitened = whiten(model, model.embed(pictures), 5, power=0.5)
    whitened.save_to_preset(tmp_path / "whitened")
    read = DOLG.from_preset(tmp_path / "whitened")
    np.testing.assert_array_equal(read.embed(pictures), whitened.embed(pictures))
    assert read.model_id == whitened.model_id
    assert read.metadata["whitening"] == {"images": 40, "dim": 5, "power": 0.5}


def test_a_folder_is_learned_from_as_its_descriptors_are(model, photos):
    by_folder = whiten(model, photos, 3)
    by_descriptors = whiten(model, Index.build(model, photos).descriptors, 3)
    assert by_folder.model_id == by_descriptors.model_id


def test_images_of_the_folder_that_cannot_be_read_are_named(model, photos, caplog):
    (photos / "broken.jpg").write_bytes(b"no image")
    assert whiten(model, photos, 3).metadata["whitening"]["images"] == 4
    assert "'broken.jpg'" in caplog.text


def test_a_named_preset_is_whitened_but_no_longer_that_preset(model, rng):
    descriptors = unit_rows(rng, 40, 12)
    model = DOLG(model.net, model.image_converter, {"preset": "hf://me/named", "figures": []})
    whitened = whiten(model, descriptors, 8)
    assert whitened.metadata["derived_from"] == "hf://me/named"
    assert not {"preset", "sha256", "figures"} & set(whitened.metadata)
    images = rng.integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    kernel, bias = pca_whitening(descriptors, 8)
    expected = unit(np.asarray(model(images)) @ kernel + bias)
    np.testing.assert_allclose(np.asarray(whitened(images)), expected, atol=DESCRIPTOR)


@pytest.mark.parametrize(
    ("images", "dim", "warns"), [(30, 12, True), (265, 64, True), (500, 8, False), (500, 12, False)]
)
def test_the_warning_starts_where_the_loss_was_measured(rng, caplog, images, dim, warns):
    with caplog.at_level(logging.WARNING):
        pca_whitening(unit_rows(rng, images, 80), dim)
    assert (f"{images} images are few to learn {dim} dimensions from" in caplog.text) == warns


@pytest.mark.parametrize(
    ("wrong", "dim", "fault"),
    [
        *(
            (lambda d: d[:12], dim, "12 images are too few.* 12 dim.*at most 11")
            for dim in (None, 12)
        ),
        (
            lambda d: d[:1].repeat(20, axis=0),
            5,
            "20 descriptors differ in 0 directions only, and 5",
        ),
        (lambda d: np.tile(d[:4], (10, 1)), 5, r"differ in 3 directions only.*a dim of at most 3"),
        (lambda d: d[:, :8], 5, r"shape \(images, 12\).* not \(500, 8\)"),
    ],
)
def test_descriptors_that_cannot_be_learned_from_are_refused(model, descriptors, wrong, dim, fault):
    with pytest.raises(ValueError, match=fault):
        whiten(model, wrong(descriptors), dim)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 5.0])
def test_a_descriptor_that_is_none_is_named_by_its_place(model, descriptors, value):
    descriptors[17] = value
    with pytest.raises(ValueError, match="Descriptor 17 has the norm"):
        whiten(model, descriptors, 5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dim": 0}, "dim must be a whole number from 1 to 12, got 0"),
        ({"dim": 13}, "dim must be a whole number from 1 to 12, got 13"),
        ({"dim": True}, "dim must be a whole number from 1 to 12, got True"),
        ({"dim": 5, "power": -0.1}, "power must be a number from 0 to 1, got -0.1"),
        ({"dim": 5, "power": float("nan")}, "power must be a number from 0 to 1, got nan"),
    ],
)
def test_a_setting_out_of_its_range_is_named(model, descriptors, values, message):
    with pytest.raises(ValueError, match=message):
        whiten(model, descriptors, **values)


def test_a_whitened_model_is_not_whitened_again(model, descriptors):
    with pytest.raises(ValueError, match="ends in a whitening already"):
        whiten(whiten(model, descriptors, 5), descriptors, 3)

"""The head in closed form, against what its four steps mean rather than how they are computed."""

import keras
import numpy as np
import pytest
from PIL import Image
from small_run import tiny_model

from dolg_zoo import DOLG
from dolg_zoo.errors import DataError
from dolg_zoo.models import DOLGConfig, DOLGNet
from dolg_zoo.training import closed_form, fit_head


@pytest.fixture
def images(rng):
    """Of one colour and a grain each; no two are alike."""
    colours = rng.uniform(60, 190, (60, 1, 1, 3))
    return (colours + rng.normal(0, 25, (60, 32, 32, 3))).clip(0, 255).astype("uint8")


@pytest.fixture
def fitted(images):
    model = tiny_model()
    assert fit_head(model, images) == {}
    return model


def taps(model, images):
    layers = [model.net.get_layer(name) for name in ("gem", "local_branch")]
    outputs = [layers[0].output, layers[1].input]
    pooled, maps = keras.Model(model.net.input, outputs).predict(images, verbose=0)
    return pooled.astype(float), maps.astype(float)


def test_half_whitening_leaves_the_square_roots_of_the_variances(rng):
    x = rng.standard_normal((500, 6)) @ rng.standard_normal((6, 6)) + 3
    kernel, bias = closed_form.half_whitening(x, 4)
    projected = x @ kernel + bias
    covariance = projected.T @ projected / len(x)
    variances = np.sort(np.linalg.eigvalsh(np.cov(x.T, bias=True)))[::-1][:4]
    assert np.allclose(projected.mean(axis=0), 0, atol=1e-9)
    assert np.allclose(covariance, np.diag(np.sqrt(variances)), atol=1e-9)


def test_ridge_minimises_error_and_penalty(rng):
    x, y = rng.standard_normal((200, 5)) + 1, rng.standard_normal((200, 3))
    kernel, bias = closed_form.ridge(x, y)
    centred = x - x.mean(axis=0)
    penalty = closed_form.RIDGE * np.trace(centred.T @ centred / 200) / 5

    def cost(kernel):
        return np.mean(np.sum((x @ kernel + bias - y) ** 2, axis=1)) + penalty * np.sum(kernel**2)

    best = cost(kernel)
    for _ in range(20):
        moved = kernel + 1e-3 * rng.standard_normal(kernel.shape)
        bias_kept = y.mean(axis=0) - x.mean(axis=0) @ moved
        error = np.mean(np.sum((x @ moved + bias_kept - y) ** 2, axis=1))
        assert error + penalty * np.sum(moved**2) > best


def test_the_global_vector_is_half_whitened(fitted, images):
    pooled, _ = taps(fitted, images)
    kernel, bias = fitted.net.get_layer("global_projection").get_weights()
    covariance = np.cov((pooled @ kernel + bias).T, bias=True)
    variances = np.linalg.eigvalsh(np.cov(pooled.T, bias=True))[::-1]
    # float32 weights of features of about 100: each entry is off by some 1e-4 of the largest
    assert np.allclose(covariance, np.diag(np.sqrt(variances)), atol=2e-3 * variances[0] ** 0.5)


def test_the_local_features_are_normalised_and_point_to_the_global_vector(fitted, images):
    _, maps = taps(fitted, images)
    branch = fitted.net.get_layer("local_branch")
    features, _ = branch.attend(maps.astype("float32"))
    features = np.asarray(features, float).reshape(len(images), -1, 8)
    # 24 of 49 positions were looked at
    assert np.allclose(features.mean(axis=(0, 1)), 0, atol=0.1)
    assert np.allclose(features.std(axis=(0, 1)), 1, atol=0.1)
    projection = fitted.net.get_layer("global_projection")
    vectors = np.asarray(projection(taps(fitted, images)[0].astype("float32")))
    mean = features.mean(axis=1)
    cosine = (
        (mean * vectors).sum(1) / np.linalg.norm(mean, axis=1) / np.linalg.norm(vectors, axis=1)
    )
    assert np.median(cosine) > 0.5


def test_positions_that_say_much_weigh_more(fitted, images):
    _, maps = taps(fitted, images)
    branch = fitted.net.get_layer("local_branch")
    features, weights = (np.asarray(x, float) for x in branch.attend(maps.astype("float32")))
    norm = np.linalg.norm(features, axis=-1)
    attention = weights[..., 0] * norm
    assert np.corrcoef(np.log(norm).ravel(), np.log(np.expm1(attention)).ravel())[0, 1] > 0.3


def test_the_descriptor_is_centred_and_uncorrelated(fitted, images):
    raw = fitted.net.predict(images.astype("float32"), verbose=0).astype(float)
    covariance = np.cov(raw.T, bias=True)
    largest = covariance.max()
    assert np.allclose(raw.mean(axis=0), 0, atol=1e-3 * largest**0.5)
    assert np.allclose(covariance, np.diag(np.diag(covariance)), atol=2e-3 * largest)


def test_without_a_local_share_the_descriptor_is_the_global_vector_turned(images):
    model = tiny_model()
    fit_head(model, images, local_share=0)
    projection = model.net.get_layer("global_projection")
    vectors = np.asarray(projection(taps(model, images)[0].astype("float32")), float)
    raw = model.net.predict(images.astype("float32"), verbose=0).astype(float)

    def distances(x):
        return np.linalg.norm(x[:, None] - x, axis=-1)

    assert np.allclose(distances(raw), distances(vectors), atol=1e-3 * distances(vectors).max())


def test_a_backbone_stays_as_it_is(images):
    model = tiny_model()
    before = [np.asarray(weight).copy() for weight in model.net.backbone.weights]
    fit_head(model, images)
    for old, new in zip(before, model.net.backbone.weights, strict=True):
        np.testing.assert_array_equal(old, new)


def test_the_seed_gives_the_same_head_again_and_draws_the_images(images):
    heads = []
    for seed in (0, 0, 1):
        model = tiny_model()
        fit_head(model, images, max_images=30, seed=seed)
        heads.append(model.net.get_layer("global_projection").get_weights()[0])
    np.testing.assert_allclose(heads[0], heads[1], atol=1e-6)
    assert np.abs(heads[0] - heads[2]).max() > 1e-3


def test_a_bad_image_costs_itself_alone(images, tmp_path):
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{number:02}.png")
    (tmp_path / "30.png").write_bytes(b"no image")
    model, other = tiny_model(), tiny_model()
    skipped = fit_head(model, tmp_path)
    assert list(skipped) == [str(tmp_path / "30.png")]
    fit_head(other, np.delete(images, 30, axis=0))
    np.testing.assert_allclose(model.embed(images), other.embed(images), atol=1e-4)


def test_too_few_images_and_images_without_differences_are_refused(images):
    with pytest.raises(DataError, match=r"8 images are too few .* hidden_dim = 8; give at least 9"):
        fit_head(tiny_model(), images[:8])
    with pytest.raises(DataError, match=r"differ in [0-7] directions only"):
        fit_head(tiny_model(), np.repeat(images[:3], 20, axis=0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dilation_rates": (2,)}, r"needs dilation_rates = \(\); this model has \(2,\)"),
        ({"attention_channels": 8}, "needs attention_channels = 1; this model has 8"),
        ({"whitened_dim": 4}, "needs whitened_dim = None; this model has 4"),
        ({"hidden_dim": 9}, "needs hidden_dim = at most 8, the channels of the global map"),
        ({"descriptor_dim": 17}, "needs descriptor_dim = at most twice hidden_dim, 16"),
    ],
)
def test_an_architecture_without_a_closed_form_is_refused(images, changes, message):
    small = tiny_model()
    settings = {"input_shape": (32, 32, 3), "dilation_rates": (), "hidden_dim": 8}
    config = DOLGConfig(**{"descriptor_dim": 8, **settings, **changes})
    model = DOLG(DOLGNet(small.net.backbone, config=config), small.image_converter)
    with pytest.raises(ValueError, match=message):
        fit_head(model, images)

"""The parts of a score sum to the score that the model itself gives."""

import io
import re

import numpy as np
import pytest
from bounds import FLOAT64
from PIL import Image
from small_model import small_model

from dolg_zoo import DOLG, BadImageError, Crop
from dolg_zoo.explaining.explanation import Explanation
from dolg_zoo.explaining.figure import draw
from dolg_zoo.explaining.keras_maps import decompose_by_keras
from dolg_zoo.explaining.side import Side
from dolg_zoo.models import DOLGConfig, DOLGNet, whitened_net


def randomised(net, rng):
    """As a trained network: batch norms and biases do something."""
    for weight in net.weights:
        value = weight.numpy()
        if "variance" in weight.name:
            weight.assign(rng.uniform(0.5, 2, value.shape))
        elif value.dtype == np.float32:
            weight.assign(value + rng.normal(0, 0.05, value.shape))
    return net


@pytest.fixture(params=["plain", "whitened", "attention of each channel", "multi-atrous"])
def model(request, rng):
    plain = small_model(name="small")
    if request.param in ("plain", "whitened"):
        net = randomised(plain.net, rng)
        if request.param == "whitened":
            net = whitened_net(net, rng.normal(size=(6, 4)), rng.normal(size=4) / 9)
        return DOLG(net, plain.image_converter)
    changed = {"attention_channels": 8, "dilation_rates": ()}
    if request.param == "multi-atrous":
        changed = {"dilation_rates": (2, 3), "atrous_filters": 3}
    config = DOLGConfig(hidden_dim=8, descriptor_dim=6, mean=(0.5,) * 3, std=(0.2,) * 3, **changed)
    return DOLG(randomised(DOLGNet(plain.net.backbone, config=config), rng), plain.image_converter)


def test_the_places_and_the_whole_sum_to_the_descriptor(model, rng):
    image = rng.integers(0, 256, (40, 56, 3), dtype="uint8")
    parts = decompose_by_keras(model.net, image)
    assert parts.places.shape == (10, 14, model.descriptor_dim)
    np.testing.assert_allclose(parts.descriptor, model(image[None])[0], atol=1e-5)


def test_what_the_places_add_is_orthogonal_to_the_global_vector(rng):
    # the last layer as the identity shows what goes into it: [global, orthogonal]
    net = randomised(small_model().net, rng)
    config = DOLGConfig(**{**net.config.to_dict(), "descriptor_dim": 16})
    wide = DOLGNet(net.backbone, config=config)
    for layer in wide.layers:
        if layer.weights and layer.name not in ("descriptor", net.backbone.name):
            layer.set_weights(net.get_layer(layer.name).get_weights())
    wide.get_layer("descriptor").set_weights([np.eye(16), np.zeros(16)])
    parts = decompose_by_keras(wide, rng.integers(0, 256, (32, 32, 3), dtype="uint8"))
    vector = parts.base[:8]
    assert np.allclose(parts.base[8:], 0) and np.linalg.norm(vector) > 0.1
    np.testing.assert_allclose(parts.places[..., :8], 0, atol=FLOAT64)
    np.testing.assert_allclose(parts.places[..., 8:] @ vector, 0, atol=FLOAT64)


@pytest.fixture(scope="module")
def rocket(embedded_model, module_photos):
    return embedded_model.explain(
        module_photos / "rocket.png", module_photos / "far" / "chelsea.png"
    )


def test_both_sides_sum_to_the_score_of_the_search(rocket, embedded_model, photos):
    found = embedded_model.similarity(photos / "rocket.png", photos / "far" / "chelsea.png")
    assert rocket.score == pytest.approx(found.item(), abs=2e-6)
    for side in rocket.sides:
        assert side.global_part + side.places.sum() == pytest.approx(rocket.score, abs=FLOAT64)


def test_it_says_what_it_is_in_a_line():
    side = Side("a.jpg", Image.new("RGB", (4, 4)), np.ones((2, 2)))
    assert repr(Explanation((side, side), 0.12345, "dolg_mine")) == (
        "<Explanation of 'a.jpg' and 'a.jpg' by dolg_mine: cosine 0.123>"
    )
    assert repr(Explanation((side,), None, "x")) == "<Explanation of 'a.jpg' by x>"


def test_a_place_that_is_painted_over_changes_its_own_part_most(embedded_model, photos):
    # the network's own locality: what a place adds comes of what is seen around it
    image = Image.open(photos / "rocket.png").convert("RGB").resize((256, 256))
    before = embedded_model.explain(image, image).sides[0]
    painted = image.copy()
    painted.paste((255, 0, 255), (0, 0, 64, 64))
    after = embedded_model.explain(painted, image).sides[0]
    changed = np.abs(after.places - before.places)
    assert changed[:4, :4].mean() > 3 * changed[10:, 10:].mean()


def test_of_one_photograph_only_the_attention_is_known(embedded_model, photos):
    explanation = embedded_model.explain(photos / "rocket.png")
    [side] = explanation.sides
    assert explanation.score is side.places is side.global_part is None
    assert side.attention.shape == (16, 16) and side.attention.min() > 0


def test_a_box_and_a_scale_are_looked_at(embedded_model, photos):
    crop = Crop(photos / "rocket.png", (0, 0, 160, 80))
    assert embedded_model.explain(crop).sides[0].attention.shape == (16, 32)
    assert embedded_model.explain(photos / "rocket.png", scale=0.5).sides[0].attention.shape == (
        8,
        8,
    )


@pytest.mark.parametrize(
    ("name", "begins"),
    [
        ("why.svg", b"<?xml"),
        ("why.jpg", b"\xff\xd8"),
        pytest.param("why.png", b"\x89PNG", marks=pytest.mark.slow),
        pytest.param("w.webp", b"RIFF", marks=pytest.mark.slow),
    ],
)
def test_it_is_written_as_its_name_says(rocket, tmp_path, name, begins):
    rocket.save(tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(begins)


def test_an_svg_says_the_score_and_its_parts_in_letters(rocket, tmp_path):
    rocket.save(tmp_path / "why.svg")
    text = " ".join(re.findall(r"<text[^>]*>([^<]*)</text>", (tmp_path / "why.svg").read_text()))
    assert f"cosine {rocket.score:.3f}" in text
    assert f"local {rocket.sides[0].places.sum():+.3f}" in text


def test_another_ending_is_refused(rocket, tmp_path):
    with pytest.raises(ValueError, match=r"why\.gif.*\.svg"):
        rocket.save(tmp_path / "why.gif")


def test_a_name_that_looks_like_a_formula_is_only_a_name(embedded_model, photos, tmp_path):
    path = photos / r"$\frac{$.png"
    (photos / "rocket.png").rename(path)
    embedded_model.explain(path).save(tmp_path / "why.png")


def test_a_notebook_shows_it(rocket):
    begin, _, data = rocket._repr_html_().partition('src="data:image/png;base64,')
    assert begin.startswith('<img alt="Explanation by ') and len(data) > 1000


def test_an_image_that_cannot_be_read_is_named(embedded_model, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(BadImageError, match=r"bad\.png"):
        embedded_model.explain(tmp_path / "bad.png")


@pytest.mark.parametrize(
    ("local", "whole", "strongest"),
    [(0.003, 0.457, 0.003 / 0.457), (0.45, 0.01, 1.0), (-0.45, 0.01, 1.0), (0.0, 0.0, 0.0)],
)
def test_the_colours_of_both_parts_have_one_scale(local, whole, strongest):
    image = Image.new("RGB", (32, 32))
    places = np.full((4, 4), local / 16)
    side = Side("a.png", image, np.ones((4, 4)), whole, places)
    figure = draw([side, side], local + whole)
    drawn = [axes.images[-1] for axes in figure.axes if axes.images]
    parts = [each for each in drawn if each.cmap.name == "PuOr_r"]
    assert len(parts) == 2
    for part in parts:
        used = np.abs(part.get_array()).max() / part.norm.vmax
        assert used == pytest.approx(strongest, rel=1e-5) and part.norm.vmin == -part.norm.vmax


def test_bytes_an_open_file_and_a_crop_of_them_are_images(embedded_model, photos):
    path, other = photos / "rocket.png", photos / "coffee.png"
    expected = embedded_model.explain(path, other).score
    part = embedded_model.explain(Crop(path, (0, 0, 160, 80)), other).score
    data = path.read_bytes()
    with path.open("rb") as file, path.open("rb") as again:
        for query, whole in [
            (data, True),
            (file, True),
            (Crop(again, (0, 0, 160, 80)), False),
        ]:
            score = embedded_model.explain(query, io.BytesIO(other.read_bytes())).score
            assert score == pytest.approx(expected if whole else part, abs=1e-6)

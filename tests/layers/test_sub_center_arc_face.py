import numpy as np
import pytest

from dolg_zoo.layers import ArcFace, SubCenterArcFace, dynamic_margins


def sub_center_arc_face(descriptors, centers, labels, scale, margins):
    """The formula, one logit at a time; a margin for each class."""
    logits = np.empty((len(descriptors), len(centers)))
    for i, c in np.ndindex(logits.shape):
        norms = np.linalg.norm(descriptors[i]) * np.linalg.norm(centers[c], axis=1)
        angle = np.arccos(np.clip(centers[c] @ descriptors[i] / norms, -1, 1)).min()
        logits[i, c] = np.cos(angle + margins[c] * (c == labels[i]))
    return scale * logits


def filled(centers, *args):
    layer = SubCenterArcFace(len(centers), centers.shape[1], *args)
    layer.build((None, centers.shape[2]))
    layer.centers.assign(centers)
    return layer


@pytest.fixture
def drawn(draw, rng):
    """Descriptors, three centers a class, labels, and a margin for each class."""
    descriptors, centers, labels = draw(sine=0.2)
    several = rng.standard_normal((7, 3, 6)).astype("float32")
    several[np.arange(7), rng.integers(0, 3, 7)] = centers
    return descriptors, several, labels, rng.uniform(0, 1.5, 7)


@pytest.mark.parametrize(("scale", "margin"), [(45.0, 0.5), (30.0, 0.15), (1, 0)])
def test_equals_the_formula(drawn, scale, margin):
    descriptors, centers, labels, _ = drawn
    found = filled(centers, scale, margin)([descriptors, labels])
    expected = sub_center_arc_face(descriptors, centers, labels, scale, np.full(7, margin))
    assert np.allclose(found, expected, rtol=0, atol=3e-5 * scale)


def test_has_the_centers_scale_and_margin_that_the_documentation_says(drawn):
    descriptors, centers, labels, _ = drawn
    layer = SubCenterArcFace(7)
    layer.build((None, 6))
    layer.centers.assign(centers)  # 3 a class
    expected = sub_center_arc_face(descriptors, centers, labels, 45, np.full(7, 0.5))
    assert np.allclose(layer([descriptors, labels]), expected, rtol=0, atol=3e-5 * 45)


def test_each_class_has_its_own_margin(drawn, with_labels):
    descriptors, centers, labels, margins = drawn
    layer = filled(centers, 30.0)
    layer.set_margins(margins)
    expected = sub_center_arc_face(descriptors, centers, labels, 30, margins)
    assert np.allclose(with_labels(layer, descriptors, labels), expected, rtol=0, atol=3e-5 * 30)
    assert [weight.name for weight in layer.trainable_weights] == ["centers"]


def test_with_one_center_is_arc_face(drawn):
    descriptors, centers, labels, _ = drawn
    single = ArcFace(7, 30, 0.4)
    single.build((None, 6))
    single.centers.assign(centers[:, 0])
    found = filled(centers[:, :1], 30, 0.4)([descriptors, labels])
    assert np.allclose(found, single([descriptors, labels]), rtol=0, atol=3e-5 * 30)


def test_gradients_are_the_slopes_of_the_formula(drawn, rng, gradients, slopes):
    descriptors, centers, labels, margins = drawn
    weights = rng.standard_normal((5, 7))
    layer = filled(centers, 30.0)
    layer.set_margins(margins)
    found = gradients(layer, descriptors, labels, weights)
    expected = slopes(
        lambda x, c: weights * sub_center_arc_face(x, c, labels, 30, margins), descriptors, centers
    )
    for gradient, slope in zip(found, expected, strict=True):
        assert np.allclose(gradient, slope, rtol=0, atol=1e-4 * np.abs(slope).max())


def test_keeps_its_margins_when_saved(reloaded, drawn):
    descriptors, _, labels, _ = drawn
    model, copy = reloaded(SubCenterArcFace(7, centers_per_class=2, margin=0.2), (6,), ())
    assert copy.layers[-1].centers_per_class == 2
    assert np.allclose(copy.layers[-1].margins, 0.22)  # as the fixture sets the second weight
    assert np.array_equal(model([descriptors, labels]), copy([descriptors, labels]))


@pytest.mark.parametrize(
    "wrong", [[0.5, 0.5], [0.5, 0.5, -0.1], [0.5, 0.5, 1.6], [0.5, 0.5, np.nan], 0.5], ids=str
)
def test_says_which_margins_are_wrong(wrong):
    layer = SubCenterArcFace(3)
    layer.build((None, 4))
    with pytest.raises(ValueError, match=r"margins must be 3 angles in \[0, π/2\)"):
        layer.set_margins(wrong)


def test_margins_need_a_layer_that_is_built():
    with pytest.raises(ValueError, match="build it"):
        SubCenterArcFace(3).set_margins([0.1, 0.2, 0.3])


@pytest.mark.parametrize("wrong", [0, 2.5, None])
def test_says_which_number_of_centers_is_wrong(wrong):
    with pytest.raises(ValueError, match=f"centers_per_class must be .* got {wrong!r}"):
        SubCenterArcFace(3, centers_per_class=wrong)


# margins from counts


def test_margins_follow_the_rule_of_the_2021_winner():
    # fourth roots 1, 2, 3, 4: 1/1 and 1/4 are the ends, 1/2 and 1/3 a third and a ninth between
    margins = dynamic_margins([1, 256, 16, 81])
    assert margins.dtype == "float32"
    assert np.allclose(margins, [0.5, 0.05, 0.05 + 0.45 / 3, 0.05 + 0.45 / 9])


def test_margins_have_the_ends_and_the_power_that_are_asked_for():
    margins = dynamic_margins([1, 2, 4], smallest=0.1, largest=0.7, power=-1)
    assert np.allclose(margins, [0.7, 0.3, 0.1])


@pytest.mark.parametrize("counts", [[7], [1, 1, 1], [10**6] * 4])
def test_classes_of_one_size_have_the_largest_margin(counts):
    assert np.array_equal(dynamic_margins(counts), np.full(len(counts), 0.5, "float32"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"counts": []}, "counts"),
        ({"counts": [[1, 2]]}, "counts"),
        ({"counts": [3, 0]}, "counts .* from 0.0 to 3.0"),
        ({"counts": [3, np.inf]}, "counts"),
        ({"counts": [3, np.nan]}, "counts"),
        ({"smallest": -0.1}, "smallest=-0.1"),
        ({"smallest": 0.6}, "smallest=0.6"),
        ({"largest": 1.6}, "largest=1.6"),
        ({"power": 0}, "power"),
    ],
)
def test_says_what_margins_cannot_be_made_of(arguments, message):
    with pytest.raises(ValueError, match=message):
        dynamic_margins(**{"counts": [1, 2], **arguments})

import keras
import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def tool(load_tool):
    return load_tool("train_embedded_preset")


def normalised(x):
    return x / np.sqrt((x**2).sum(axis=-1, keepdims=True))


def test_an_altered_view_is_a_square_part_of_the_photograph(tool, rng):
    left, right = np.full((60, 40, 3), 0), np.full((60, 40, 3), 255)
    image = Image.fromarray(np.hstack([left, right]).astype("uint8"))
    for _ in range(20):
        view = tool.alter(image, rng, area=(0.9, 1.0), tilt=0.05, colour=0.0, blur=0.0)
        assert view.size == (tool.SIDE, tool.SIDE)
        edges = sorted(np.asarray(view, float)[:, [5, -6]].mean(axis=(0, 2)))
        assert edges[0] < 1 and edges[1] > 254  # either way round: it may be mirrored


def test_a_strong_view_shows_between_8_and_60_percent(tool):
    """Of a ramp from 0 to 255, the range of values seen is the width of the part."""
    ramp = np.broadcast_to(np.linspace(0, 255, 512)[None, :, None], (512, 512, 3))
    image = Image.fromarray(ramp.astype("uint8"))
    settings = tool.STRONG | {"colour": 0.0, "blur": 0.0, "tilt": 0.0}
    views = [
        np.asarray(tool.alter(image, np.random.default_rng(i), **settings)) for i in range(200)
    ]
    widths = np.array([np.ptp(view[128, :, 0].astype(float)) / 255 for view in views])
    # of an area a and a ratio r the width is sqrt(a r): 0.24 to 0.89, in the mean 0.57
    assert 0.2 < widths.min() < 0.35 and 0.8 < widths.max() < 0.95
    assert abs(widths.mean() - 0.57) < 0.03


def test_a_view_is_drawn_again_from_its_seed(tool):
    image = Image.effect_noise((80, 60), 60).convert("RGB")
    first, again, other = (
        np.asarray(tool.alter(image, np.random.default_rng(s), **tool.STRONG)) for s in (1, 1, 2)
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_view_whitening_plays_down_what_views_differ_in(tool, rng):
    """Two channels vary alike from photograph to photograph; views differ in the second."""
    photos = rng.standard_normal((2000, 1, 2))
    views = photos + [0, 3] * rng.standard_normal((2000, 6, 2))
    views[:, 0] = photos[:, 0]
    kernel, bias = tool.view_whitening(views, 2)
    assert np.allclose(views[:, 0].mean(axis=0) @ kernel + bias, 0, atol=1e-9)
    within = np.array([0.0, np.var(views - views.mean(axis=1, keepdims=True), axis=(0, 1))[1]])
    spheres = (within + within.mean()) ** -0.25
    expected = spheres * (views[:, 0].std(axis=0) * spheres) ** -0.5  # half of whitening
    assert np.linalg.norm(kernel, axis=1) == pytest.approx(expected, rel=0.03)


def test_teacher_vectors_are_unit_and_about_their_mean(tool, rng):
    class Net:
        def get_layer(self, name):
            assert name == "global_projection"
            return keras.layers.Identity()

    taught = tool.teacher(Net(), rng.standard_normal((50, 6, 8)) + 2)
    assert np.allclose((taught**2).sum(axis=-1), 1)
    assert np.abs(taught.mean(axis=(0, 1))).max() < 0.2


def test_the_nearest_rotation_finds_the_one_that_was_applied(tool, rng):
    rotation = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    x = rng.standard_normal((100, 5))
    assert np.allclose(tool.nearest_rotation(x, x @ rotation), rotation)


def test_the_loss_is_the_formula_written_out(tool, rng):
    anchors = normalised(rng.standard_normal((30, 8)))
    target = normalised(anchors[:7] + 0.2 * rng.standard_normal((7, 8)))
    descriptor = 3 * rng.standard_normal((7, 8))

    def similar(x):
        e = np.exp(x @ anchors.T / 0.1)
        return e / e.sum(axis=1, keepdims=True)

    p, q = similar(target), similar(normalised(descriptor))
    expected = 1 - (target * normalised(descriptor)).sum(axis=1) + (p * np.log(p / q)).sum(axis=1)
    loss = tool.distillation(anchors)(target.astype("float32"), descriptor.astype("float32"))
    assert np.allclose(keras.ops.convert_to_numpy(loss), expected, rtol=1e-4)


def test_says_how_many_photographs_it_needs(tool, tmp_path, monkeypatch, capsys):
    Image.new("RGB", (8, 8)).save(tmp_path / "one.png")
    arguments = ["--backbone", "x.weights.h5", "--photos", str(tmp_path), "--out", "preset"]
    monkeypatch.setattr("sys.argv", ["train", *arguments])
    with pytest.raises(SystemExit):
        tool.main()
    assert "need more than 1 photographs" in capsys.readouterr().err

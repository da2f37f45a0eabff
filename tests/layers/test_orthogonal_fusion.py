import keras
import numpy as np
import pytest

from dolg_zoo.layers import OrthogonalFusion

# Values of 3 at most less a projection of as much. Its two dot products of 8 channels and the
# quotient are off by 24 * 2^-24 of themselves: 4e-6.
FUSED = 2e-5


def draw(rng, batch=2, height=3, width=5, channels=8):
    local = rng.standard_normal((batch, height, width, channels)).astype("float32")
    return local, rng.standard_normal((batch, channels)).astype("float32")


def test_equals_the_formula(rng):
    local, global_ = draw(rng)
    fused = np.asarray(OrthogonalFusion()([local, global_]))
    for image in range(2):
        g = global_[image].astype(np.float64)
        for place in np.ndindex(3, 5):
            f = local[image][place].astype(np.float64)
            expected = np.concatenate([g, f - (g @ f) / (g @ g) * g])
            assert np.allclose(fused[image][place], expected, rtol=0, atol=FUSED)


def test_the_orthogonal_part_is_orthogonal_at_every_place(rng):
    # in the seed's layer it is not: it reshapes the map without transposing it back
    local, global_ = draw(rng, channels=1024, height=7, width=4)
    orthogonal = np.asarray(OrthogonalFusion()([local, global_]))[..., 1024:].astype(np.float64)
    dots = np.einsum("bhwc,bc->bhw", orthogonal, global_)
    scale = np.linalg.norm(local, axis=-1) * np.linalg.norm(global_, axis=-1)[:, None, None]
    np.testing.assert_allclose(dots / scale, 0, atol=1e-6)


def test_pooled_equals_the_mean_of_the_map(rng):
    local, global_ = draw(rng, channels=64)
    whole = np.mean(OrthogonalFusion()([local, global_]), axis=(1, 2))
    pooled = OrthogonalFusion()([local.mean(axis=(1, 2)), global_])
    assert np.allclose(pooled, whole, rtol=0, atol=FUSED)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-20, 1e20, 1e30])
def test_any_length_of_the_global_vector_is_finite_and_exact(rng, scale):
    local, global_ = draw(rng)
    unit = np.asarray(OrthogonalFusion()([local, global_]))[..., 8:]
    scaled = np.asarray(OrthogonalFusion()([local, global_ * np.float32(scale)]))[..., 8:]
    assert np.allclose(scaled, unit if scale else local, rtol=0, atol=FUSED)


def test_gradients_of_a_zero_global_vector_are_finite(rng):
    tf = pytest.importorskip("tensorflow")
    local, _ = draw(rng)
    global_ = tf.Variable(tf.zeros((2, 8)))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(OrthogonalFusion()([local, global_]) ** 2)
    assert np.isfinite(tape.gradient(total, global_)).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "mixed_float16", "mixed_bfloat16"])
def test_half_precision_does_not_overflow(rng, dtype):
    local, global_ = draw(rng, channels=1024)
    global_ *= 30  # the sum of squares is beyond float16
    fused = np.asarray(OrthogonalFusion(dtype=dtype)([local, global_]), "float32")
    expected = np.asarray(OrthogonalFusion()([local, global_]))
    assert np.allclose(fused, expected, rtol=0.02, atol=0.05)


def test_takes_maps_of_unknown_size(rng):
    inputs = [keras.Input((None, None, 8)), keras.Input((8,))]
    model = keras.Model(inputs, OrthogonalFusion()(inputs))
    assert model.output_shape == (None, None, None, 16)
    for height, width in [(2, 9), (6, 1)]:
        assert model(list(draw(rng, 1, height, width))).shape == (1, height, width, 16)


def test_survives_saving(reloaded, rng):
    model, copy = reloaded(OrthogonalFusion(), (None, None, 8), (8,))
    inputs = list(draw(rng))
    assert np.array_equal(model(inputs), copy(inputs))


@pytest.mark.parametrize(
    "shapes",
    [
        [(2, 3, 3, 8), (2, 4)],
        [(2, 3, 8), (2, 8)],
        [(2, 8), (2, 3, 8)],
        [(1, 3, 3, 8), (2, 8)],
        [(2, 3, 3, 8)],
        [(2, 3, 3, 8), (2, 8), (2, 8)],
    ],
    ids=str,
)
@pytest.mark.parametrize("make", [np.ones, lambda shape: keras.Input(batch_shape=shape)])
def test_says_which_shapes_do_not_fit(shapes, make):
    with pytest.raises(ValueError, match="takes \\[local, global\\]"):
        OrthogonalFusion()([make(shape) for shape in shapes])


@pytest.mark.parametrize("shape", [(2, 3, 3, 8), (2, 8)], ids=str)
@pytest.mark.parametrize("make", [np.ones, lambda shape: keras.Input(batch_shape=shape)])
def test_says_that_one_tensor_is_not_enough(shape, make):
    with pytest.raises(ValueError, match="takes \\[local, global\\]"):
        OrthogonalFusion()(make(shape))


def test_says_so_at_later_calls_too(rng):
    layer = OrthogonalFusion()
    local, global_ = draw(rng)
    layer([local, global_])
    with pytest.raises(ValueError, match="takes \\[local, global\\]"):
        layer([local[:1], global_])

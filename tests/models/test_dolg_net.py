import keras
import numpy as np
import pytest
from bounds import relative_error
from keras import layers

from dolg_zoo.layers import (
    DOLGLocalBranch,
    GeneralizedMeanPooling2D,
    OrthogonalFusion,
)
from dolg_zoo.models import DOLGConfig, DOLGNet

# Values of float32 computed in two ways, of a few layers on numbers up to 30, differ by 1e-5 at
# most on any processor. The bounds are ten times that; a layer that is left out shows at 1.
SMALL = {"hidden_dim": 8, "descriptor_dim": 6, "atrous_filters": 4, "dilation_rates": (1, 2)}


def small_backbone(channels=3, size=None):
    images = keras.Input((size, size, channels))
    local = layers.Conv2D(5, 3, strides=4, padding="same", activation="relu")(images)
    return keras.Model(images, [local, layers.Conv2D(7, 3, 2, "same", activation="relu")(local)])


@pytest.fixture
def net():
    keras.utils.set_random_seed(0)
    return DOLGNet(small_backbone(), config=DOLGConfig(**SMALL))


def randomise(model, rng):
    for weight in model.weights:
        positive = weight.path.endswith(("variance", "gamma", "/p"))
        draw = rng.uniform(0.5, 3, weight.shape) if positive else rng.normal(size=weight.shape)
        weight.assign(draw)


def test_equals_its_layers_composed_by_hand_over_the_whole_map(net, rng):
    # the network never builds the normalised or the fused map; the layers by themselves do
    randomise(net, rng)
    images = rng.uniform(0, 1, (2, 37, 53, 3)).astype("float32")
    local_map, global_map = net.backbone(images)
    branch = DOLGLocalBranch(filters=8, atrous_filters=4, dilation_rates=(1, 2))
    branch.build(local_map.shape)
    branch.set_weights(net.get_layer("local_branch").get_weights())
    global_ = net.get_layer("global_projection")(net.get_layer("gem")(global_map))
    fused = OrthogonalFusion()([branch(local_map), global_])
    expected = net.get_layer("descriptor")(np.mean(fused, axis=(1, 2)))
    # ten layers of random weights, whose values cancel: float32's 6e-8 becomes some 3e-5
    np.testing.assert_allclose(relative_error(net(images), expected), 0, atol=1e-3)


def test_one_network_takes_images_of_any_size(net, rng):
    assert net.input_shape == (None, None, None, 3)
    for height, width in [(32, 48), (51, 17)]:
        assert net(rng.uniform(0, 1, (1, height, width, 3))).shape == (1, 6)


def test_normalises_in_the_graph(rng):
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    backbone = small_backbone()
    raw = DOLGNet(backbone, config=DOLGConfig(**SMALL))
    normalising = DOLGNet(backbone, config=DOLGConfig(**SMALL, mean=mean, std=std))
    normalising.set_weights(raw.get_weights())
    images = rng.integers(0, 256, (2, 24, 24, 3), dtype="uint8")
    expected = raw(((images / 255 - mean) / std).astype("float32"))
    assert np.allclose(normalising(images), expected, rtol=1e-4, atol=1e-5)
    assert np.allclose(normalising(images.astype("float32")), expected, rtol=1e-4, atol=1e-5)


def test_takes_what_the_users_backbone_takes_when_no_normalisation_is_asked_for(rng):
    net = DOLGNet(small_backbone(channels=1), config=DOLGConfig(**SMALL))
    assert net(rng.uniform(0, 1, (1, 20, 20, 1))).shape == (1, 6)


def test_a_classifier_gives_probabilities_and_learns(rng):
    keras.utils.set_random_seed(0)
    net = DOLGNet(small_backbone(), num_classes=2, activation="softmax", config=DOLGConfig(**SMALL))
    labels = rng.integers(0, 2, 64)
    images = rng.normal(size=(64, 16, 16, 3)) + 2 * labels[:, None, None, None]
    assert np.allclose(np.sum(net(images[:4]), axis=1), 1, atol=1e-5)
    net.compile(
        keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    five_times = np.concatenate([images] * 5), np.concatenate([labels] * 5)
    history = net.fit(*five_times, batch_size=64, shuffle=False, epochs=3, verbose=0)
    assert history.history["loss"][-1] < 0.5 * history.history["loss"][0]


@pytest.mark.parametrize("num_classes", [None, 3])
def test_survives_saving(tmp_path, rng, num_classes):
    config = DOLGConfig(**SMALL, mean=(0, 0, 0), std=(1, 1, 1))
    net = DOLGNet(small_backbone(), num_classes, "softmax" if num_classes else None, config=config)
    randomise(net, rng)
    net.save(tmp_path / "net.keras")
    copy = keras.models.load_model(tmp_path / "net.keras")
    images = rng.integers(0, 256, (1, 24, 40, 3), dtype="uint8")
    assert isinstance(copy, DOLGNet)
    assert copy.config == config
    assert np.array_equal(net(images), copy(images))


def test_a_backbone_of_the_table_is_saved_by_its_name(tmp_path, rng):
    # keras-cv's own layers need not survive Keras' saving for this
    config = DOLGConfig(**SMALL, backbone="resnet18_v2", taps=("P2", "P3"))
    net = DOLGNet(config=config)
    net.save(tmp_path / "net.keras")
    images = rng.uniform(0, 1, (1, 64, 96, 3))
    assert np.array_equal(keras.models.load_model(tmp_path / "net.keras")(images), net(images))


@pytest.mark.parametrize(
    "policy", ["mixed_float16", pytest.param("mixed_bfloat16", marks=pytest.mark.bfloat16)]
)
def test_mixed_precision_stays_near_single(rng, policy):
    keras.utils.set_random_seed(0)
    config = DOLGConfig(**SMALL, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    single = DOLGNet(small_backbone(), config=config)
    keras.config.set_dtype_policy(policy)
    try:
        half = DOLGNet(small_backbone(), config=config)
    finally:
        keras.config.set_dtype_policy("float32")
    half.set_weights(single.get_weights())
    images = rng.integers(0, 256, (2, 64, 64, 3), dtype="uint8")
    expected, got = np.asarray(single(images)), np.asarray(half(images))
    assert got.dtype == np.float32
    # bfloat16 has 8 bits: each of some ten layers is off by 1/256 of its values
    np.testing.assert_allclose(relative_error(got, expected), 0, atol=0.1)


def test_says_what_a_backbone_must_be():
    images = keras.Input((None, None, 3))
    with pytest.raises(ValueError, match="one input and two outputs"):
        DOLGNet(keras.Model(images, layers.Conv2D(4, 3)(images)))
    with pytest.raises(ValueError, match="functional"):
        DOLGNet(layers.Conv2D(4, 3))
    with pytest.raises(ValueError, match="needs one backbone"):
        DOLGNet()
    with pytest.raises(ValueError, match="needs one backbone"):
        DOLGNet(small_backbone(), config=DOLGConfig(backbone="resnet50"))
    with pytest.raises(ValueError, match="config must be a DOLGConfig, got 'paper'"):
        DOLGNet(small_backbone(), config="paper")
    with pytest.raises(ValueError, match="num_classes must be a whole number of at least 1, got 0"):
        DOLGNet(small_backbone(), num_classes=0)


# What the seed's README shows, with the import line changed


def seed_option_1(base, local, global_):
    new_base = keras.Model(
        [base.inputs], [base.get_layer(local).output, base.get_layer(global_).output]
    )
    dolg_net = DOLGNet(new_base, num_classes=10, activation="softmax")
    dolg_net.build_graph().summary()
    return dolg_net


@pytest.mark.parametrize(
    ("application", "local", "global_"),
    [
        (keras.applications.EfficientNetB0, "block5c_add", "block7a_project_bn"),
        pytest.param(
            *(keras.applications.ResNet50, "conv4_block6_out", "conv5_block3_out"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *(keras.applications.DenseNet121, "pool4_relu", "relu"), marks=pytest.mark.slow
        ),
    ],
)
def test_seed_option_1(rng, capsys, application, local, global_):
    base = application(include_top=False, weights=None, input_shape=(128, 128, 3))
    dolg_net = seed_option_1(base, local, global_)
    assert "orthogonal_fusion" in capsys.readouterr().out
    probabilities = dolg_net(rng.uniform(0, 255, (2, 128, 128, 3)))
    assert np.allclose(np.sum(probabilities, axis=1), 1, atol=1e-4)
    keras.backend.clear_session()


def test_seed_option_2(rng, capsys):
    img_shape = 128
    vision_input = keras.Input(shape=(img_shape, img_shape, 1), name="img")
    x = layers.Conv2D(16, 3, activation="relu")(vision_input)
    x = layers.Conv2D(32, 3, strides=4, activation="relu")(x)
    y = x = DOLGLocalBranch(IMG_SIZE=img_shape)(x)

    x = layers.MaxPooling2D(3)(x)
    x = layers.Conv2D(32, 3, activation="relu")(x)
    gem_pool = GeneralizedMeanPooling2D()(x)
    gem_dens = layers.Dense(1024, activation=None)(gem_pool)

    vision_output = OrthogonalFusion()([y, gem_dens])
    vision = keras.Model(vision_input, vision_output, name="vision")
    vision.summary(expand_nested=True, line_length=110)
    assert "vision" in capsys.readouterr().out
    fused = vision(rng.uniform(0, 1, (1, img_shape, img_shape, 1)))
    assert fused.shape == (1, 31, 31, 2048)
    dots = np.einsum("bhwc,bhwc->bhw", fused[..., :1024], fused[..., 1024:])
    norms = np.linalg.norm(fused[..., :1024], axis=-1) * np.linalg.norm(fused[..., 1024:], axis=-1)
    np.testing.assert_allclose(dots / norms, 0, atol=1e-4)

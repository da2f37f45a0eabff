import keras
import numpy as np
import pytest
from keras import layers

from dolg_zoo.backbones import build_backbone, to_be_filled, two_taps


@pytest.mark.parametrize(
    ("application", "channels"),
    [
        ("MobileNetV3Small", (288, 576)),
        ("ConvNeXtTiny", (384, 768)),
        pytest.param("EfficientNetB0", (672, 1280), marks=pytest.mark.slow),
        pytest.param("EfficientNetV2B0", (672, 1280), marks=pytest.mark.slow),
        pytest.param("ResNet50", (1024, 2048), marks=pytest.mark.slow),
        pytest.param("DenseNet121", (512, 1024), marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("size", [None, pytest.param(128, marks=pytest.mark.slow)])
def test_strides_are_found_in_keras_applications(application, channels, size):
    model = getattr(keras.applications, application)(
        weights=None, include_top=False, input_shape=(size, size, 3)
    )

    taps = two_taps(model)

    maps = taps.compute_output_shape((2, 128, 128, 3))
    assert maps == [(2, 8, 8, channels[0]), (2, 4, 4, channels[1])]
    keras.backend.clear_session()


def test_tap_is_the_end_of_a_block_not_a_place_on_a_branch():
    """In ResNet v1.5 the first layers of stage 4 still have the stride of stage 3."""
    with to_be_filled():
        taps = two_taps(build_backbone("resnet50", taps=("P4", "P5")))

    assert taps.output_names == ["s3_b6_out", "s4_b3_out"]


def plain_net(size=None, channels=3):
    image = x = keras.Input((size, size, channels))
    for i, filters in enumerate((4, 8, 16, 32, 64)):
        x = layers.Conv2D(filters, 3, 2, "same", activation="relu", name=f"conv{i + 1}")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(10, name="classes")(x), name="plain")


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_images_may_have_any_number_of_channels(channels):
    taps = two_taps(plain_net(channels=channels), local=8, global_=16)

    assert taps.output_names == ["conv3", "conv4"]
    assert taps.input.shape == (None, None, None, channels)


@pytest.mark.parametrize("size", [100, 97, 33])
def test_a_size_that_the_stride_does_not_divide_is_rounded(size):
    assert two_taps(plain_net(size)).output_names == ["conv4", "conv5"]


def test_layer_names_and_strides_mix():
    assert two_taps(plain_net(), "conv2", 16).output_names == ["conv2", "conv4"]


def test_layers_are_shared_and_not_copied():
    model = plain_net(64)
    image = np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype(np.float32)
    taps = two_taps(model, "conv4", "conv5")
    model.get_layer("conv5").bias.assign(np.full(64, 2.0))

    global_ = taps.predict(image, verbose=0)[1]

    expected = keras.Model(model.input, model.get_layer("conv5").output).predict(image, verbose=0)
    np.testing.assert_array_equal(global_, expected)


def test_operations_that_are_not_layers_can_be_tapped():
    image = keras.Input((32, 32, 3))
    x = layers.Conv2D(4, 3, 2, "same")(image)
    model = keras.Model(image, keras.ops.relu(x) * 2)

    assert two_taps(model, 2, 2).outputs[0] is model.output


def test_missing_stride_is_answered_with_layers_strides_and_channels():
    with pytest.raises(ValueError, match=r"'plain'.*stride 64.*conv4 \(stride 16, 32 channels\)"):
        two_taps(plain_net(), 16, 64)


def test_unknown_layer_is_answered_with_similar_names():
    with pytest.raises(ValueError, match=r"'conv9'.*conv5"):
        two_taps(plain_net(), "conv9", "conv5")


def test_a_name_unlike_any_is_answered_with_the_last_layers_and_their_number():
    image = x = keras.Input((8, 8, 3))
    for i in range(30):
        x = layers.ReLU(name=f"relu{i}")(x)
    with pytest.raises(ValueError, match=r"'zzz'.* 31 layers.*relu20, .*relu29\.") as error:
        two_taps(keras.Model(image, x), "zzz", "relu1")
    assert "relu19" not in str(error.value)


def test_only_whole_strides_are_offered():
    image = keras.Input((None, None, 3))
    x = layers.ZeroPadding2D(1, name="pad")(image)
    x = layers.Conv2D(4, 3, 2, name="halved")(x)
    x = layers.ZeroPadding2D(1, name="pad_again")(x)
    x = layers.Conv2D(4, 3, 2, name="quartered")(x)
    with pytest.raises(
        ValueError, match=r"stride: halved .stride 2,.*quartered .stride 4,"
    ) as error:
        two_taps(keras.Model(image, x), 2, 8)
    assert "pad" not in str(error.value)


@pytest.mark.parametrize("tap", [0, -16, True, None, 16.0, layers.ReLU()], ids=str)
def test_a_tap_that_is_neither_a_name_nor_a_stride_is_refused(tap):
    with pytest.raises(ValueError, match="name of a layer or a stride"):
        two_taps(plain_net(), tap, 32)


def test_layer_without_a_map_is_refused():
    with pytest.raises(ValueError, match=r"'pool' cannot be tapped"):
        two_taps(plain_net(), "conv4", "pool")


def test_model_with_two_inputs_is_refused():
    a, b = keras.Input((32, 32, 3)), keras.Input((32, 32, 3))
    with pytest.raises(ValueError, match="one input"):
        two_taps(keras.Model([a, b], layers.Add()([a, b])))


def test_model_with_named_inputs_is_refused():
    image = keras.Input((32, 32, 3))
    with pytest.raises(ValueError, match="one input"):
        two_taps(keras.Model({"image": image}, layers.ReLU()(image)))


def test_what_is_no_model_is_refused():
    with pytest.raises(ValueError, match="None cannot be tapped"):
        two_taps(None)


def test_model_that_is_not_functional_is_refused():
    class Subclassed(keras.Model):
        pass

    with pytest.raises(ValueError, match="functional"):
        two_taps(Subclassed())


def net_with_outputs(names, size=None):
    """Its outputs lie behind those layers that their strides alone would lead to."""
    image = x = keras.Input((size, size, 3))
    outputs = {}
    for i, name in enumerate(names):
        x = layers.Conv2D(4, 3, 2, "same", name=f"conv{i + 1}")(x)
        outputs[name] = layers.ReLU(name=f"relu{i + 1}")(x)
    return keras.Model(image, outputs, name="named")


@pytest.mark.parametrize("size", [None, 96])
@pytest.mark.parametrize("taps", [(16, 32), ("P4", "P5"), ("relu4", "P5")])
def test_outputs_with_names_are_taken_by_their_strides_not_by_their_names(taps, size):
    model = net_with_outputs(["P0", "P1", "P2", "P3", "P4"], size)

    outputs = two_taps(model, *taps).outputs

    assert outputs[0] is model.output["P3"]
    assert outputs[1] is model.output["P4"]


def test_a_stride_that_no_output_has_is_that_of_a_layer():
    image = x = keras.Input((64, 64, 3))
    for name in ("half", "quarter"):
        x = layers.Conv2D(4, 3, 2, "same", name=name)(x)
    model = keras.Model(image, {"out": x})

    assert two_taps(model, 2, 4).outputs[0] is model.get_layer("half").output


def test_the_pyramid_of_a_backbone_goes_before_its_output():
    model = plain_net(64)
    model.pyramid_outputs = {"low": model.get_layer("conv4").output}

    assert two_taps(model, "P4", 32).output_names == ["conv4", "conv5"]
    with pytest.raises(ValueError, match=r"stride 32 to tap for 'P5'.*low .stride 16, 32 chan"):
        two_taps(model, "P4", "P5")


def test_a_pyramid_that_has_no_maps_is_refused():
    model = plain_net(64)
    model.pyramid_outputs = {"tokens": layers.Reshape((-1, 32))(model.get_layer("conv4").output)}

    with pytest.raises(ValueError, match=r"tokens, have the shape \(None, 16, 32\)"):
        two_taps(model)


def test_channels_first_is_refused():
    image = keras.Input((3, 64, 64))
    x = layers.Conv2D(4, 3, 2, "same", data_format="channels_first", name="conv")(image)

    with pytest.raises(ValueError, match=r"'conv'.*channels first.*channels_last"):
        two_taps(keras.Model(image, x))

"""Backbones of keras-hub are tapped as they are; skipped where keras-hub is not installed."""

import keras
import numpy as np
import pytest
from keras_hub_backbones import SMALL, small_backbone

from dolg_zoo.backbones import two_taps

keras_hub = pytest.importorskip("keras_hub", reason="keras-hub is not installed")

# the levels of strides 16 and 32, as keras-hub calls them
PYRAMIDS = {
    "ResNetBackbone": ("P4", "P5"),
    "ResNetBackbone bottleneck_vd": ("P4", "P5"),
    "ResNetBackbone V2": ("P4", "P5"),
    "DenseNetBackbone": ("P4", "P5"),
    "CSPNetBackbone": ("P5", "P6"),
    "EfficientNetBackbone": ("P4", "P5"),
    "MiTBackbone": ("P2", "P3"),
    "RetinaNetBackbone": ("P4", "P5"),
}


@pytest.fixture
def images(rng):
    return rng.normal(size=(2, 64, 64, 3)).astype(np.float32)


@pytest.mark.parametrize("kind", PYRAMIDS)
def test_the_maps_are_those_of_the_pyramid(kind, images):
    backbone = small_backbone(kind)
    pyramid = [backbone.pyramid_outputs[level] for level in PYRAMIDS[kind]]
    expected = keras.Model(backbone.input, pyramid)(images)

    taps = two_taps(backbone)

    assert [tuple(level.shape[1:3]) for level in expected] == [(4, 4), (2, 2)]
    for given, level in zip(taps(images), expected, strict=True):
        np.testing.assert_array_equal(given, level)
    for names in (("P4", "P5"), (16, "P5")):
        outputs = two_taps(backbone, *names).outputs
        assert [id(tensor) for tensor in outputs] == [id(tensor) for tensor in pyramid]


def test_every_family_with_a_pyramid_is_tried():
    base = keras_hub.models.FeaturePyramidBackbone
    classes = {name: getattr(keras_hub.models, name) for name in dir(keras_hub.models)}
    families = {
        name for name, c in classes.items() if isinstance(c, type) and issubclass(c, base)
    } - {base.__name__}

    assert families == {kind.split()[0] for kind in PYRAMIDS} | {"DINOV2Backbone", "DINOV3Backbone"}


def test_the_stages_of_hgnetv2_are_its_outputs(images):
    backbone = small_backbone("HGNetV2Backbone")

    local, global_ = two_taps(backbone)(images)

    outputs = backbone(images)
    np.testing.assert_array_equal(local, outputs["stage3"])
    np.testing.assert_array_equal(global_, outputs["stage4"])


@pytest.mark.parametrize(
    ("kind", "layers", "size"),
    [
        ("MobileNetBackbone", ("block_3_0", "block_6_0"), 64),
        ("VGGBackbone", ("block5_conv1", "block5_pool"), 64),
        ("XceptionBackbone", ("block4_residual_add", "block6_sepconv2_act"), 96),
    ],
)
def test_a_backbone_without_a_pyramid_is_tapped_by_its_layers(kind, layers, size):
    backbone = small_backbone(kind)

    taps = two_taps(backbone)

    assert [output._keras_history.operation.name for output in taps.outputs] == [*layers]
    assert [shape[1] for shape in taps.compute_output_shape((1, size, size, 3))] == [
        size // 16,
        size // 32,
    ]


@pytest.mark.parametrize("kind", ["DINOV2Backbone", "DINOV3Backbone"])
def test_tokens_are_no_maps(kind):
    with pytest.raises(ValueError, match=r"stem, stage1.*\(None, \d+, 16\), and are not maps"):
        two_taps(small_backbone(kind))


@pytest.mark.parametrize("kind", ["ViTBackbone", "SwinTransformerBackbone"])
def test_a_transformer_without_maps_is_refused(kind):
    with pytest.raises(ValueError, match=r"no layer of stride 16 to tap"):
        two_taps(small_backbone(kind))


def test_a_level_that_there_is_not_is_answered_with_those_that_there_are():
    backbone = small_backbone("MiTBackbone")
    with pytest.raises(ValueError, match=r"stride 2 to tap for 'P1'.*P1 \(stride 8, 8 channels\)"):
        two_taps(backbone, "P1", "P5")


def test_channels_first_is_refused():
    backbone = keras_hub.models.ResNetBackbone(
        **SMALL["ResNetBackbone"], data_format="channels_first", image_shape=(3, 64, 64)
    )
    with pytest.raises(ValueError, match=r"channels first.*data_format='channels_last'"):
        two_taps(backbone)

import dataclasses

import keras
import numpy as np
import pytest

from dolg_zoo.backbones import BACKBONES, build_backbone, to_be_filled

# Parameter counts from elsewhere, where keras-cv's metadata has none or a wrong one.
COUNTS = {
    # keras-cv counts a classifier of ten classes on top of the backbone: 10 (channels + 1) more.
    **{"mit_b0": 3321962 - 2570, "mit_b1": 13156554 - 5130, "mit_b2": 24201418 - 5130},
    **{"mit_b3": 44077258 - 5130, "mit_b4": 60847818 - 5130, "mit_b5": 81448138 - 5130},
    # keras-cv states up to 0.2 % more than its own code has. These are the counts of
    # keras.applications without top, less its 7 of input normalisation.
    **{"efficientnet_b0": 4049571 - 7, "efficientnet_b1": 6575239 - 7},
    **{"efficientnet_b2": 7768569 - 7, "efficientnet_b3": 10783535 - 7},
    **{"efficientnet_b4": 17673823 - 7, "efficientnet_b5": 28513527 - 7},
    **{"efficientnet_b6": 40960143 - 7, "efficientnet_b7": 64097687 - 7},
    # The same for Lite. From efficientnet-lite-pytorch 0.1.0: parameters, less the classifier's
    # 1281 * 1000, plus the moving averages, which PyTorch does not count.
    **{"efficientnet_lite_b0": 4652008 - 1281000 + 42016},
    **{"efficientnet_lite_b1": 5416680 - 1281000 + 53664},
    **{"efficientnet_lite_b2": 6092072 - 1281000 + 58096},
    **{"efficientnet_lite_b3": 8197096 - 1281000 + 76672},
    **{"efficientnet_lite_b4": 13006568 - 1281000 + 112368},
    # keras-cv's metadata fits no version of its code; keras.applications without top.
    **{"mobilenet_v3_small": 939120, "mobilenet_v3_large": 2996352},
    # keras-cv states none; keras.applications without top.
    **{"densenet121": 7037504, "densenet169": 12642880, "densenet201": 18321984},
    # Ours. torchvision's count without fc, plus the moving averages of batch normalisation.
    "resnet50": 25557032 - 2049000 + 53120,
    "resnet101": 44549160 - 2049000 + 105344,
    "resnet152": 60192808 - 2049000 + 151424,
    # timm's model cards: the count, less the classifier, plus the moving averages of batch
    # normalisation. The networks without it have none.
    "resnest50": 27483240 - 2049000 + 64576,
    "resnest101": 48275016 - 2049000 + 130112,
    "resnest200": 70201544 - 2049000 + 218432,
    "resnest269": 110929480 - 2049000 + 314432,
    **{"nfnet_f0": 71489284 - 3073000, "nfnet_f1": 132634256 - 3073000},
    **{"nfnet_f2": 193779228 - 3073000, "nfnet_f3": 254924200 - 3073000},
    **{"eca_nfnet_l0": 24143924 - 2305000, "eca_nfnet_l1": 41407728 - 3073000},
    **{"eca_nfnet_l2": 56722348 - 3073000},
}


def expected_count(name):
    if name in COUNTS:
        return COUNTS[name]
    import keras_cv

    spec = BACKBONES[name]
    presets = getattr(keras_cv.models, spec.keras_cv_class).presets
    return presets[spec.keras_cv_preset]["metadata"]["params"]


# The quickest of each way to build and to count; the others have the same code, other numbers.
QUICK = {
    *("efficientnet_lite_b0", "efficientnet_b0", "mobilenet_v3_small", "resnet50"),
    *("resnet18_v2", "resnest50", "nfnet_f0", "eca_nfnet_l0"),
}
TABLE = [pytest.param(n, marks=[] if n in QUICK else [pytest.mark.slow]) for n in BACKBONES]


def test_the_quick_ones_are_in_the_table():
    assert BACKBONES.keys() >= QUICK


@pytest.mark.parametrize("name", TABLE)
def test_backbone_has_maps_of_stride_16_and_32_and_the_published_size(name, monkeypatch):
    monkeypatch.setattr("dolg_zoo.backbones.build.tap_layers", keep_network)
    depths = with_one_block_a_stage(name, monkeypatch) if name.startswith("mit_") else []
    size = 64

    # Drawing 1.5 billion random weights would take most of the time, and none is looked at.
    with keras.StatelessScope(initialize_variables=False):
        backbone = build_backbone(name, input_shape=(size, size, 3))

    assert [output.shape[1:3] for output in backbone.outputs] == [
        (size // s,) * 2 for s in (16, 32)
    ]
    left_out = sum(
        (blocks - 1) * backbone.network.get_layer(f"hierarchical_encoder_{stage}_0").count_params()
        for stage, blocks in enumerate(depths)
    )
    assert backbone.network.count_params() + left_out == expected_count(name)
    keras.backend.clear_session()


def with_one_block_a_stage(name, monkeypatch):
    """Has a MiT built so; returns how many blocks each stage has: they are all alike."""
    spec = BACKBONES[name]
    arguments = {**spec.arguments, "depths": [1, 1, 1, 1]}
    monkeypatch.setitem(BACKBONES, name, dataclasses.replace(spec, arguments=arguments))
    return spec.arguments["depths"]


def keep_network(network, *args, **kwargs):
    """The two-tap model, and on it the whole network, which is what published counts are of."""
    from dolg_zoo.backbones.taps import tap_layers

    backbone = tap_layers(network, *args, **kwargs)
    backbone.network = network
    return backbone


SOME_FAMILIES = [
    *("resnet18_v1", "mobilenet_v3_small"),
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("densenet121", "mit_b0")),
]


@pytest.mark.parametrize("name", SOME_FAMILIES)
def test_levels_name_maps_of_stride_4_and_8_too(name):
    backbone = build_backbone(name, taps=("P2", "P3"), input_shape=(64, 64, 3))

    assert [output.shape[1:3] for output in backbone.outputs] == [(16, 16), (8, 8)]


def test_a_tap_may_be_a_layer_name():
    with to_be_filled():
        backbone = build_backbone("resnet50", taps=("s2_b4_out", "P4"), input_shape=(64, 64, 3))

    assert [output.shape[1:] for output in backbone.outputs] == [(8, 8, 512), (4, 4, 1024)]


@pytest.mark.parametrize(
    ("name", "local", "global_"),
    [
        ("efficientnet_lite_b0", (6, 8), (3, 4)),  # pads as if all sizes were even
        pytest.param("efficientnet_v2_b0", (7, 9), (4, 5), marks=pytest.mark.slow),
        ("resnet18_v2", (7, 9), (4, 5)),
        pytest.param("densenet121", (6, 8), (3, 4), marks=pytest.mark.slow),
    ],
)
def test_size_may_be_unknown_and_odd(name, local, global_):
    maps = build_backbone(name)(np.zeros((1, 97, 131, 3), np.float32))

    assert [tuple(feature_map.shape[1:3]) for feature_map in maps] == [local, global_]


def test_backbone_is_named_and_takes_images_as_they_are():
    backbone = build_backbone("efficientnet_lite_b0")

    assert backbone.name == "efficientnet_lite_b0"
    assert not any("rescaling" in layer.name for layer in backbone.layers)


def test_images_may_have_more_channels():
    assert build_backbone("resnet18_v2", input_shape=(64, 64, 5)).input.shape == (None, 64, 64, 5)


def test_unknown_name_is_answered_with_those_that_exist():
    with pytest.raises(ValueError, match=r"'efficientnet-b0'.*mean efficientnet_b0.*mit_b5"):
        build_backbone("efficientnet-b0")


def test_unknown_tap_is_answered_with_levels_and_similar_layers():
    match = r"'s3_b7_out'.*P2, P3, P4, P5.*s3_b6_out"
    with pytest.raises(ValueError, match=match), to_be_filled():
        build_backbone("resnet50", taps=("s3_b7_out", "P5"))


@pytest.mark.parametrize("taps", [("P3", "P4", "P5"), (16, 32), (None, "P5"), 16], ids=str)
def test_other_than_two_names_as_taps_are_refused(taps):
    with pytest.raises(ValueError, match="two names"):
        build_backbone("csp_darknet_tiny", taps=taps, input_shape=(64, 64, 3))


@pytest.mark.parametrize("shape", [(33, 33, 3), (64, 33, 3), (None, 33, 3)], ids=str)
def test_csp_darknet_refuses_odd_sizes(shape):
    with pytest.raises(ValueError, match=r"'csp_darknet_tiny'.*even"):
        build_backbone("csp_darknet_tiny", input_shape=shape)


@pytest.mark.slow
def test_csp_darknet_takes_even_sizes():
    maps = build_backbone("csp_darknet_tiny", input_shape=(34, None, 3)).output_shape
    assert [shape[1] for shape in maps] == [3, 2]


@pytest.mark.parametrize("shape", [(None, None, 3), (100, 100, 3), (224, 256, 3)])
def test_mit_refuses_a_size_it_cannot_be_built_for(shape):
    with pytest.raises(ValueError, match=r"'mit_b0'.*multiple of 32"):
        build_backbone("mit_b0", input_shape=shape)


@pytest.mark.slow
def test_mit_takes_another_size():
    maps = build_backbone("mit_b0", input_shape=(96, 96, 3))(np.zeros((1, 96, 96, 3), np.float32))

    assert [tuple(feature_map.shape[1:]) for feature_map in maps] == [(6, 6, 160), (3, 3, 256)]

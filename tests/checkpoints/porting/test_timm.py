"""timm's names, as its state dicts have them, each with our variable."""

import numpy as np
import pytest

from dolg_zoo.checkpoints.porting import PortingError, port_timm


def norm(key, layer, size):
    leaves = ("weight", "gamma"), ("bias", "beta")
    leaves += ("running_mean", "moving_mean"), ("running_var", "moving_variance")
    return {f"{key}.{theirs}": ((size,), f"{layer}/{ours}", (size,)) for theirs, ours in leaves}


RESNET = {
    "conv1.weight": ((4, 3, 7, 7), "stem_conv/kernel", (7, 7, 3, 4)),
    **norm("bn1", "stem_bn", 4),
    "layer1.0.conv1.weight": ((2, 4, 1, 1), "s1_b1_a/kernel", (1, 1, 4, 2)),
    **norm("layer1.0.bn1", "s1_b1_a_bn", 2),
    "layer1.0.conv2.weight": ((2, 2, 3, 3), "s1_b1_b/kernel", (3, 3, 2, 2)),
    **norm("layer1.0.bn2", "s1_b1_b_bn", 2),
    "layer1.0.conv3.weight": ((8, 2, 1, 1), "s1_b1_c/kernel", (1, 1, 2, 8)),
    **norm("layer1.0.bn3", "s1_b1_c_bn", 8),
    "layer1.0.downsample.0.weight": ((8, 4, 1, 1), "s1_b1_proj/kernel", (1, 1, 4, 8)),
    **norm("layer1.0.downsample.1", "s1_b1_bn", 8),
    "layer4.11.conv2.weight": ((3, 3, 3, 3), "s4_b12_b/kernel", (3, 3, 3, 3)),
}
RESNEST = {
    "conv1.0.weight": ((4, 3, 3, 3), "conv1_0/kernel", (3, 3, 3, 4)),
    **norm("conv1.1", "conv1_1", 4),
    **norm("bn1", "bn1", 8),
    "layer2.0.conv2.conv.weight": ((8, 2, 3, 3), "layer2_0_conv2_conv/kernel", (3, 3, 2, 8)),
    **norm("layer2.0.conv2.bn0", "layer2_0_conv2_bn0", 8),
    "layer2.0.conv2.fc1.weight": ((6, 4, 1, 1), "layer2_0_conv2_fc1/kernel", (1, 1, 4, 6)),
    "layer2.0.conv2.fc1.bias": ((6,), "layer2_0_conv2_fc1/bias", (6,)),
    "layer2.0.downsample.1.weight": ((8, 4, 1, 1), "layer2_0_downsample_1/kernel", (1, 1, 4, 8)),
    **norm("layer2.0.downsample.2", "layer2_0_downsample_2", 8),
}
NFNET = {
    "stem.conv1.weight": ((4, 3, 3, 3), "stem_conv1/kernel", (3, 3, 3, 4)),
    "stem.conv1.bias": ((4,), "stem_conv1/bias", (4,)),
    "stem.conv1.gain": ((4, 1, 1, 1), "stem_conv1/gain", (1, 1, 1, 4)),
    "stages.1.0.skipinit_gain": ((), "stages_1_0/skipinit_gain", ()),
    "stages.1.0.conv2b.weight": ((6, 3, 3, 3), "stages_1_0_conv2b/kernel", (3, 3, 3, 6)),
    "stages.1.0.conv3.gain": ((6, 1, 1, 1), "stages_1_0_conv3/gain", (1, 1, 1, 6)),
    "stages.1.0.downsample.conv.bias": ((6,), "stages_1_0_downsample_conv/bias", (6,)),
    "stages.1.0.attn_last.fc1.bias": ((3,), "stages_1_0_attn_last_fc1/bias", (3,)),
    "final_conv.weight": ((8, 6, 1, 1), "final_conv/kernel", (1, 1, 6, 8)),
}
ECA = {
    "stages.1.0.attn_last.conv.weight": ((1, 1, 5), "stages_1_0_attn_last_conv/kernel", (5, 1, 1))
}
LITE = {
    "conv_stem.weight": ((4, 3, 3, 3), "stem_conv/kernel", (3, 3, 3, 4)),
    **norm("bn1", "stem_bn", 4),
    "blocks.0.0.conv_dw.weight": ((4, 1, 3, 3), "block1a_dwconv/kernel", (3, 3, 4, 1)),
    **norm("blocks.0.0.bn1", "block1a_bn", 4),
    "blocks.0.0.conv_pw.weight": ((2, 4, 1, 1), "block1a_project_conv/kernel", (1, 1, 4, 2)),
    **norm("blocks.0.0.bn2", "block1a_project_bn", 2),
    "blocks.5.3.conv_pw.weight": ((12, 2, 1, 1), "block6d_expand_conv/kernel", (1, 1, 2, 12)),
    **norm("blocks.5.3.bn1", "block6d_expand_bn", 12),
    "blocks.5.3.conv_dw.weight": ((12, 1, 5, 5), "block6d_dwconv/kernel", (5, 5, 12, 1)),
    **norm("blocks.5.3.bn2", "block6d_bn", 12),
    "blocks.5.3.conv_pwl.weight": ((2, 12, 1, 1), "block6d_project_conv/kernel", (1, 1, 12, 2)),
    **norm("blocks.5.3.bn3", "block6d_project_bn", 2),
    "conv_head.weight": ((8, 2, 1, 1), "top_conv/kernel", (1, 1, 2, 8)),
    **norm("bn2", "top_bn", 8),
}
CLASSIFIERS = {
    **{"resnet": "fc", "resnest": "fc", "nfnet": "head.fc", "eca_nfnet": "head.fc"},
    "lite": "classifier",
}
NAMES = {"resnet": RESNET, "resnest": RESNEST, "nfnet": NFNET, "eca_nfnet": ECA, "lite": LITE}


@pytest.fixture(params=NAMES)
def family(request):
    return request.param


@pytest.fixture
def names(family):
    return NAMES[family]


@pytest.fixture
def state(family, names, rng):
    keys = {f"{CLASSIFIERS[family]}.weight": (5, 8), f"{CLASSIFIERS[family]}.bias": (5,)}
    keys |= {key: shape for key, (shape, _, _) in names.items()}
    tensors = {key: rng.standard_normal(shape) for key, shape in keys.items()}
    tracked = [k.replace("running_var", "num_batches_tracked") for k in keys if "_var" in k]
    return tensors | dict.fromkeys(tracked, np.array(7))


@pytest.fixture
def targets(names):
    return {path: shape for _, path, shape in names.values()}


def test_each_tensor_fills_the_variable_of_its_name(names, state, targets):
    ported = port_timm(state, targets)

    assert ported.keys() == targets.keys()
    for key, (_, path, shape) in names.items():
        assert ported[path].shape == shape
        order = {3: (2, 1, 0), 4: (2, 3, 1, 0)}.get(state[key].ndim)
        if "conv_dw" in key:
            order = (2, 3, 0, 1)
        assert np.array_equal(
            ported[path], np.transpose(state[key], order) if order else state[key]
        )


def test_a_missing_tensor_is_named_by_its_variable(names, state, targets):
    key, (_, path, _) = list(names.items())[-1]
    del state[key]
    with pytest.raises(PortingError, match=f"does not fill: {path} "):
        port_timm(state, targets)


def test_a_tensor_of_another_shape_is_named(names, state, targets):
    key, (shape, path, _) = list(names.items())[-1]
    state[key] = np.ones((*shape[:-1], 9))
    with pytest.raises(PortingError, match=rf"another shape: {path}: .*9"):
        port_timm(state, targets)


@pytest.mark.parametrize(
    ("family", "key"),
    [
        ("resnet", "layer3.6.conv1.weight"),
        ("resnest", "layer3.6.conv1.weight"),
        ("nfnet", "stages.2.6.conv1.weight"),
        ("eca_nfnet", "stages.2.6.attn_last.conv.weight"),
    ],
    indirect=["family"],
)
def test_weights_of_a_deeper_network_are_refused(key, state, targets):
    with pytest.raises(PortingError, match=f"does not have: {key} "):
        port_timm({**state, key: np.ones((4, 4, 1, 1))}, targets)


def test_weights_of_another_family_are_refused(family, state):
    other = {path: shape for f in NAMES if f != family for _, path, shape in NAMES[f].values()}
    with pytest.raises(PortingError, match=r"does not have: .*does not fill: "):
        port_timm(state, other)

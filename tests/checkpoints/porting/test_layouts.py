"""The layouts of upstream checkpoints, held against the keys and shapes of upstream's code."""

import re

import numpy as np
import pytest

from dolg_zoo.backbones import to_be_filled
from dolg_zoo.checkpoints.porting import LAYOUTS, PortingError
from dolg_zoo.models import DOLGConfig, DOLGNet

# model: its layout, and the architecture that upstream's code states
MODELS = {
    "r50": ("official_pytorch", DOLGConfig.official(backbone="resnet50")),
    "r50_ma": ("official_pytorch", DOLGConfig.paper(backbone="resnet50")),
    "r101": ("official_pytorch", DOLGConfig.official(backbone="resnet101")),
    "r152": ("official_pytorch", DOLGConfig.official(backbone="resnet152")),
    "paddle": (
        "official_paddle",
        DOLGConfig.official(backbone="resnet50", gem_power="fixed", gem_p=3.0),
    ),
    "dongkyuk": ("dongkyuk_pytorch", DOLGConfig.dongkyuk(backbone="resnet101", gem_p=2.75)),
}
VARIANTS = {
    "official_pytorch": DOLGConfig.official,
    "official_paddle": DOLGConfig.official,
    "dongkyuk_pytorch": DOLGConfig.dongkyuk,
}
# for each layout a key of the stem, of a head's matrix, and of a head's bias
STEM = {"dongkyuk": "cnn.conv1.weight"}
STEM |= dict.fromkeys(["r50", "r50_ma", "r101", "r152", "paddle"], "globalmodel.stem.conv.weight")
MATRIX = {"dongkyuk": "fc_1.weight", "r50": "fc_t.weight", "paddle": "fc_t.weight"}
BIAS = {"dongkyuk": "fc_2.bias", "r50": "fc.bias", "paddle": "fc.bias"}
ONE_OF_EACH_LAYOUT = list(MATRIX)
OF_THE_MARGIN_HEAD = {"desc_cls.weight", "desc_cls.t", "criterion.weight"}
STANDS_TWICE = {  # upstream registers one branch under two names
    "local_branch.multi_atrous.gap_branch.1.weight",
    "local_branch.multi_atrous.gap_branch.1.bias",
}


def constant(value, shape):
    """An array that takes no memory."""
    return np.broadcast_to(np.float32(value), shape)


@pytest.fixture(scope="module")
def state_of(golden):
    """A new state dict of a model: its n-th tensor is full of n, but for dongkyuk's GeM power."""

    def keys_of(model):
        if model == "r152":
            return deepened(golden.read("official_pytorch_keys")["r101"], {2: 8, 3: 36})
        if model == "paddle":
            return golden.read("official_paddle_keys")
        if model == "dongkyuk":
            return golden.read("dongkyuk_pytorch_keys")
        return golden.read("official_pytorch_keys")[model]

    def state_of(model):
        state = {key: constant(n, shape) for n, (key, shape) in enumerate(keys_of(model).items())}
        if model == "dongkyuk":
            state["gem_pool.p"] = constant(2.75, (1,))
        return state

    return state_of


def deepened(keys, depths):
    """The keys of a ResNet with more blocks, made from those of one whose second block repeats."""
    second = r"(globalmodel\.s(\d)\.)b2\."
    more = dict(keys)
    for key, shape in keys.items():
        if match := re.match(second, key):
            for block in range(2, depths.get(int(match[2]), 2) + 1):
                more[re.sub(second, rf"\1b{block}.", key)] = shape
    return more


@pytest.fixture(scope="module")
def targets_of():
    """Path to shape of each variable of the network that a model's configuration describes."""
    built = {}

    def targets_of(model):
        config = MODELS[model][1]
        if model not in built:
            with to_be_filled():
                net = DOLGNet(config=config)
            built[model] = {weight.path: tuple(weight.shape) for weight in net.weights}
        return built[model]

    return targets_of


def config_of(model, state):
    return LAYOUTS[MODELS[model][0]].config(state)


def weights_of(model, state, targets):
    return LAYOUTS[MODELS[model][0]].weights(state, targets)


def head_of(model, state):
    return LAYOUTS[MODELS[model][0]].margin_head(state)


# what a checkpoint says of the architecture


@pytest.mark.parametrize("model", MODELS)
def test_the_architecture_is_read_off_the_checkpoint(model, state_of):
    layout, expected = MODELS[model]
    assert VARIANTS[layout](**config_of(model, state_of(model))) == expected


@pytest.mark.parametrize(
    ("model", "changed", "expected"),
    [
        ("r50", {"fc_t.weight": (48, 2048), "fc.weight": (24, 96)}, (48, 24, 512)),
        ("r50_ma", {"localmodel.aspp.aspp.0.weight": (40, 1024, 1, 1)}, (1024, 512, 40)),
        ("paddle", {"fc_t.weight": (2048, 48), "fc.weight": (96, 24)}, (48, 24, 512)),
        (
            "dongkyuk",
            {
                "fc_1.weight": (48, 1024),
                "fc_2.weight": (24, 96),
                "local_branch.multi_atrous.dilated_convs.0.weight": (12, 512, 3, 3),
            },
            (48, 24, 12),
        ),
    ],
)
def test_widths_are_read_off_the_kernels(model, changed, expected, state_of):
    state = state_of(model) | {key: constant(0, shape) for key, shape in changed.items()}
    config = VARIANTS[MODELS[model][0]](**config_of(model, state))
    assert (config.hidden_dim, config.descriptor_dim, config.atrous_filters) == expected


@pytest.mark.parametrize(("stage_3", "name"), [(6, "resnet50"), (36, "resnet152")])
def test_dongkyuks_network_has_three_depths_too(stage_3, name, state_of):
    state = state_of("dongkyuk")
    blocks = {f"cnn.layer3.{block}.conv1.weight": None for block in range(stage_3)}
    if name == "resnet152":
        blocks |= {f"cnn.layer2.{block}.conv1.weight": None for block in range(8)}
    kept = {key: array for key, array in state.items() if not key.startswith("cnn.layer3.")}
    assert config_of("dongkyuk", kept | blocks)["backbone"] == name


@pytest.mark.parametrize("model", ONE_OF_EACH_LAYOUT)
def test_names_the_depth_it_does_not_know(model, state_of):
    block = r"cnn\.layer1\.2\." if model == "dongkyuk" else r"globalmodel\.s1\.b3\."
    state = {key: array for key, array in state_of(model).items() if not re.match(block, key)}
    counts = {"dongkyuk": r"\(2, 4, 23\)"}.get(model, r"\(2, 4, 6, 3\)")
    with pytest.raises(PortingError, match=rf"{counts} blocks .* known are .*resnet50"):
        config_of(model, state)


def test_names_the_stages_that_are_one_too_many(state_of):
    with pytest.raises(PortingError, match=r"\(3, 4, 23, 1\) blocks"):
        config_of("dongkyuk", state_of("dongkyuk") | {"cnn.layer4.0.conv1.weight": None})


@pytest.mark.parametrize(
    ("model", "other"), [("r50", "dongkyuk"), ("dongkyuk", "r50"), ("paddle", "dongkyuk")]
)
def test_shows_the_first_keys_of_another_model(model, other, state_of):
    first = re.escape(repr(next(iter(state_of(other)))))
    with pytest.raises(PortingError, match=f"of another model.* Its first keys: {first}"):
        config_of(model, state_of(other))


@pytest.mark.parametrize(
    ("model", "key"),
    [
        ("r50", "fc_t.weight"),
        ("r50", "fc.weight"),
        ("r50_ma", "localmodel.aspp.aspp.0.weight"),
        ("paddle", "fc_t.weight"),
        ("paddle", "fc.weight"),
        ("dongkyuk", "fc_1.weight"),
        ("dongkyuk", "fc_2.weight"),
        ("dongkyuk", "local_branch.multi_atrous.dilated_convs.0.weight"),
        ("dongkyuk", "gem_pool.p"),
    ],
)
@pytest.mark.parametrize("shape", [None, (), (5,), (4, 3, 2)])
def test_names_a_tensor_that_the_architecture_is_read_off(model, key, shape, state_of):
    state = state_of(model)
    del state[key]
    if shape is not None:
        state[key] = constant(1, shape)
    if key == "gem_pool.p" and shape == ():  # as good as (1,)
        assert config_of(model, state)["gem_p"] == 1.0
        return
    with pytest.raises(PortingError, match=f"must hold .*{re.escape(key)}"):
        config_of(model, state)


# what becomes of the tensors


@pytest.mark.parametrize(
    "model",
    # the r101's network is dongkyuk's, and one of more blocks takes no other way
    [pytest.param(m, marks=[pytest.mark.slow] if m in ("r101", "r152") else []) for m in MODELS],
)
def test_every_variable_gets_one_tensor_and_every_tensor_one_variable(model, state_of, targets_of):
    state, targets = state_of(model), targets_of(model)

    ported = weights_of(model, state, targets)

    assert {path: array.shape for path, array in ported.items()} == targets
    numbers = {int(array.flat[0]): key for key, array in state.items() if key != "gem_pool.p"}
    used = [numbers[int(array.flat[0])] for array in ported.values()]
    assert len(set(used)) == len(used)
    left_out = {key for key in set(state) - set(used) if not key.endswith("num_batches_tracked")}
    expected = OF_THE_MARGIN_HEAD | STANDS_TWICE | {"gem_pool.p"}
    assert left_out == expected & set(state)


@pytest.mark.parametrize("model", ["r50", "r50_ma", "paddle", "dongkyuk"])
def test_the_stem_takes_rgb_though_the_official_one_takes_bgr(model, state_of, targets_of, rng):
    kernel = rng.standard_normal((64, 3, 7, 7)).astype("float32")
    ported = weights_of(model, state_of(model) | {STEM[model]: kernel}, targets_of(model))
    in_rgb = kernel if model == "dongkyuk" else kernel[:, ::-1]
    assert np.array_equal(ported["stem_conv/kernel"], in_rgb.transpose(2, 3, 1, 0))


@pytest.mark.parametrize(
    ("model", "theirs", "ours"),
    [
        ("paddle", "fc_t.weight", "global_projection/kernel"),
        ("paddle", "fc.weight", "descriptor/kernel"),
        ("r50", "fc_t.weight", "global_projection/kernel"),
        ("dongkyuk", "fc_2.weight", "descriptor/kernel"),
    ],
)
def test_a_matrix_lies_as_in_keras(model, theirs, ours, state_of, targets_of):
    state = state_of(model)
    shape = state[theirs].shape
    state[theirs] = matrix = np.arange(np.prod(shape), dtype="float32").reshape(shape)
    ported = weights_of(model, state, targets_of(model))[ours]
    assert np.array_equal(ported, matrix if model == "paddle" else matrix.T)


# what does not fit


@pytest.mark.parametrize("model", ONE_OF_EACH_LAYOUT)
def test_lists_all_that_does_not_fit(model, state_of, targets_of):
    state = state_of(model)
    del state[BIAS[model]]
    wide = state[MATRIX[model]].shape[0] + 1, state[MATRIX[model]].shape[1]
    state[MATRIX[model]] = constant(0, wide)
    state["localmodel.strange.weight"] = constant(0, (3, 3))
    mean = "_mean" if model == "paddle" else "running_mean"
    state[f"localmodel.strange.bn.{mean}"] = constant(0, (3,))
    with pytest.raises(PortingError) as caught:
        weights_of(model, state, targets_of(model))
    strange, missing, differing = str(caught.value).split(". ", 1)[1].split(". ")
    assert "localmodel.strange.weight (3, 3)" in strange
    assert f"localmodel.strange.bn.{mean} (3,)" in strange
    assert missing.endswith("does not fill: descriptor/bias (512,)")
    shape, asked = (wide, wide[::-1]) if model == "paddle" else (wide[::-1], wide)
    assert f"global_projection/kernel: {shape}, not" in differing
    assert "descriptor" not in differing
    assert asked != shape


@pytest.mark.parametrize("model", ONE_OF_EACH_LAYOUT)
@pytest.mark.parametrize("shape", [(512, 1, 1, 1), (512, 1), (8, 8, 8), ()])
def test_a_vector_of_another_rank_is_another_shape(model, shape, state_of, targets_of):
    state = state_of(model) | {BIAS[model]: constant(0, shape)}
    with pytest.raises(PortingError, match=r"another shape: descriptor/bias: \(.*\), not \(512,\)"):
        weights_of(model, state, targets_of(model))


@pytest.mark.parametrize("model", ["r50", "paddle"])
def test_a_block_that_is_one_too_many_is_strange(model, state_of, targets_of):
    state = state_of(model) | {"globalmodel.s4.b4.f.a.weight": constant(0, (512, 2048, 1, 1))}
    with pytest.raises(PortingError, match=r"does not have: globalmodel\.s4\.b4\.f\.a\.weight"):
        weights_of(model, state, targets_of(model))


def test_a_tensor_under_paddles_name_and_pytorchs_is_not_dropped(state_of, targets_of):
    double = "globalmodel.stem.bn.running_mean"
    state = state_of("paddle") | {double: constant(0, (64,))}
    with pytest.raises(PortingError, match=re.escape(f"does not have: {double}")):
        weights_of("paddle", state, targets_of("paddle"))


@pytest.mark.parametrize("model", ONE_OF_EACH_LAYOUT)
@pytest.mark.parametrize("dtype", ["uint16", "int8", "bool", "complex64"])
def test_numbers_that_are_no_weights_are_refused(model, dtype, state_of, targets_of):
    """Paddle keeps bfloat16 as uint16: taken for numbers, it would make a network of noise."""
    state = state_of(model)
    state[MATRIX[model]] = np.broadcast_to(np.ones((), dtype), state[MATRIX[model]].shape)
    match = rf"network\. tensors that hold no floating-point numbers: {MATRIX[model]} {dtype}\.$"
    with pytest.raises(PortingError, match=match):
        weights_of(model, state, targets_of(model))


# the head that a checkpoint was trained under


@pytest.mark.parametrize(
    ("model", "layer", "centers", "others"),
    [
        ("r50", "CurricularFace", "desc_cls.weight", {"t"}),
        ("dongkyuk", "ArcFace", "criterion.weight", set()),
    ],
)
def test_the_head_is_that_of_upstream_if_it_was_saved(model, layer, centers, others, state_of):
    state = state_of(model)
    head = head_of(model, state)
    assert (head.layer, head.scale, head.margin) == (layer, 30.0, 0.15)
    assert set(head.arrays) == {"centers"} | others
    assert head.arrays["centers"] is state[centers]  # 160 MB of it: not copied
    for t in others:
        assert head.arrays[t].shape == () and head.arrays[t] == state["desc_cls.t"][0]
        without_t = {key: array for key, array in state.items() if key != "desc_cls.t"}
        assert head_of(model, without_t).arrays[t] == 0
    network = {key: array for key, array in state.items() if key not in OF_THE_MARGIN_HEAD}
    assert head_of(model, network) is None


def test_paddles_port_has_no_head(state_of):
    assert head_of("paddle", state_of("paddle")) is None


@pytest.mark.parametrize(
    ("model", "key"), [("r50", "desc_cls.weight"), ("dongkyuk", "criterion.weight")]
)
@pytest.mark.parametrize("shape", [(512,), (1000, 511), (0, 512), (1000, 512, 1)])
def test_names_a_class_matrix_that_fits_no_descriptor(model, key, shape, state_of):
    with pytest.raises(PortingError, match=rf"{key}.* 512 .*{re.escape(str(shape))}"):
        head_of(model, state_of(model) | {key: constant(0, shape)})


@pytest.mark.parametrize(("key", "name"), [("desc_cls.weight", "centers"), ("desc_cls.t", "t")])
@pytest.mark.parametrize("dtype", ["int8", "complex64"])
def test_a_head_of_other_than_real_numbers_is_refused(key, name, dtype, state_of):
    state = state_of("r50") | {"desc_cls.t": constant(0, (1,))}
    with pytest.raises(PortingError, match=rf"head's {name} must .* not {dtype}"):
        head_of("r50", state | {key: state[key].astype(dtype)})


@pytest.mark.parametrize("dtype", ["bool", "complex64"])
def test_a_power_of_other_than_real_numbers_is_refused(dtype, state_of):
    with pytest.raises(PortingError, match=r"one number 'gem_pool\.p'"):
        config_of("dongkyuk", state_of("dongkyuk") | {"gem_pool.p": np.ones(1, dtype)})


def test_names_a_running_mean_that_is_not_one_number(state_of):
    with pytest.raises(PortingError, match=r"desc_cls\.t"):
        head_of("r50", state_of("r50") | {"desc_cls.t": constant(0, (2,))})


# a network that was a part of another module


@pytest.mark.parametrize("model", ["r50", "paddle", "dongkyuk"])
@pytest.mark.parametrize("prefix", ["model.", "module.net._orig_mod.", "student.encoder.module."])
def test_a_prefix_of_the_network_alone_is_found(model, prefix, state_of, caplog):
    layout = LAYOUTS[MODELS[model][0]]
    state = state_of(model)
    head = OF_THE_MARGIN_HEAD & state.keys()
    inside = {key: array for key, array in state.items() if key not in head}
    beside = {"loss.weight": constant(1, (3, 4)), **{key: state[key] for key in head}}
    found = layout.network_in({**{prefix + key: array for key, array in inside.items()}, **beside})
    assert found == state
    (record,) = caplog.records
    assert repr(prefix) in record.getMessage()
    assert "1 tensors under 'loss' are left aside" in record.getMessage()


@pytest.mark.parametrize("others", [["teacher."], ["ema.module."], ["model.ema."]])
def test_of_several_networks_one_is_taken_and_the_others_are_named(others, state_of, caplog):
    state = state_of("r50")
    whole = {p + key: array for p in ("model.", *others) for key, array in state.items()}
    assert LAYOUTS["official_pytorch"].network_in(whole) == state
    (record,) = caplog.records
    assert all(repr(prefix) in record.getMessage() for prefix in ("model.", *others))


@pytest.mark.parametrize("model", ONE_OF_EACH_LAYOUT)
def test_a_plain_state_dict_and_a_strange_one_stay_as_they_are(model, state_of, caplog):
    layout, state = LAYOUTS[MODELS[model][0]], state_of(model)
    assert layout.network_in(state) == state
    assert layout.network_in({"model.a": constant(1, ())}) == {"model.a": constant(1, ())}
    assert not caplog.records


def test_a_loss_that_is_no_margin_head_is_left_aside(state_of, caplog):
    state = {key: a for key, a in state_of("dongkyuk").items() if key != "criterion.weight"}
    whole = {f"model.{key}": array for key, array in state.items()}
    whole["criterion.weight"] = constant(1, (5,))
    assert LAYOUTS["dongkyuk_pytorch"].network_in(whole) == state
    assert "1 tensors under 'criterion'" in caplog.text

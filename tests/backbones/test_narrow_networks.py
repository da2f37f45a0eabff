"""ResNeSt and NFNet of few blocks: how they compute, and how they are saved, trained, exported."""

import dataclasses

import keras
import numpy as np
import pytest
from bounds import DESCRIPTOR
from keras import layers

import dolg_zoo
from dolg_zoo.backbones import BACKBONES, build_backbone, to_be_filled
from dolg_zoo.backbones.convolution import GroupedConv2D
from dolg_zoo.backbones.nfnet import ScaledStdConv2D

NARROW = {
    "resnest50": {"blocks": (1, 1, 2, 1), "stem_width": 8, "width": 16},
    "nfnet_f0": {"blocks": (1, 1, 2, 1), "features": 40, "width": 32},
    "eca_nfnet_l0": {
        **{"blocks": (1, 1, 2, 1), "features": 40, "width": 32},
        "family": "eca_nfnet",
    },
}


@pytest.fixture(autouse=True, scope="module")
def _narrow():
    with pytest.MonkeyPatch.context() as patch:
        for name, arguments in NARROW.items():
            patch.setitem(
                BACKBONES, name, dataclasses.replace(BACKBONES[name], arguments=arguments)
            )
        yield


# the third has the blocks of the second, with an attention of another kind
SOME = ["resnest50", "nfnet_f0", pytest.param("eca_nfnet_l0", marks=pytest.mark.slow)]


@pytest.fixture(params=SOME, scope="module")
def model(request):
    """A model in which no gain is what it is in a new one."""
    rng = np.random.default_rng(0)
    # some random networks blow rounding up: their descriptors come from a nearly zero vector
    keras.utils.set_random_seed(0)
    construct = getattr(dolg_zoo, f"dolg_{request.param}")
    model = construct(descriptor_dim=8, hidden_dim=8, dilation_rates=())
    for weight in model.net.backbone.weights:
        if weight.name in ("gain", "skipinit_gain", "gamma", "moving_variance"):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif weight.name in ("bias", "beta", "moving_mean"):
            weight.assign(rng.normal(0, 0.1, weight.shape))
    return model


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    """The folder of the model's preset."""
    folder = tmp_path_factory.mktemp("saved") / "preset"
    model.save_to_preset(folder)
    return folder


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (2, 65, 97, 3), dtype="uint8")


@pytest.mark.parametrize("strides", [1, 2])
def test_groups_are_those_of_keras(strides, rng):
    x = rng.normal(size=(2, 9, 8, 6)).astype(np.float32)
    ours, theirs = (
        convolution(12, 3, strides, "same", groups=3)
        for convolution in (GroupedConv2D, layers.Conv2D)
    )
    expected = theirs(x)
    ours.build(x.shape)
    ours.set_weights(theirs.get_weights())

    np.testing.assert_allclose(ours(x), expected, atol=1e-5)


@pytest.mark.parametrize("groups", [1, 2])
def test_a_kernel_is_used_with_the_variance_of_its_gain(groups, rng):
    """Equation 1 of arXiv 2102.06171, with the gain of arXiv 2101.08692."""
    conv = ScaledStdConv2D(4, 3, groups=groups, gamma=1.5, epsilon=0.0)
    x = np.zeros((1, 3, 3, 6), np.float32)
    conv.build(x.shape)
    kernel = rng.normal(3, 2, conv.kernel.shape)
    gain, bias = rng.uniform(0.5, 2, 4), rng.normal(size=4)
    conv.set_weights([kernel, bias, gain.reshape(1, 1, 1, 4)])
    fan_in = 9 * 6 // groups
    centred = (kernel - kernel.mean((0, 1, 2))) / kernel.std((0, 1, 2)) / np.sqrt(fan_in)
    expected = centred * gain * 1.5

    for channel in range(6):
        x = np.zeros((1, 3, 3, 6), np.float32)
        x[0, 1, 2, channel] = 1
        out = np.array(conv(x))[0, 0, 0] - bias
        group, within = divmod(channel, 6 // groups)
        used = np.zeros(4)
        filters = slice(group * 4 // groups, (group + 1) * 4 // groups)
        used[filters] = expected[1, 2, within, filters]
        np.testing.assert_allclose(out, used, atol=1e-5)


@pytest.mark.parametrize("name", ["nfnet_f0", "eca_nfnet_l0"])
def test_in_a_new_nfnet_a_block_passes_on_what_it_gets(name, rng):
    network = build_backbone(name, taps=("stages_2_0", "stages_2_1"))

    before, after = network(rng.normal(size=(1, 40, 40, 3)).astype(np.float32))

    assert np.abs(before).max() > 0.1
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("name", SOME)
def test_kernels_start_at_zero_only_where_they_are_to_be_filled(name):
    with to_be_filled():
        unfilled = build_backbone(name)
    for network, drawn in ((unfilled, False), (build_backbone(name), True)):
        kernels = [w for w in network.weights if w.path.endswith("kernel")]
        assert len(kernels) > 20
        assert all(np.any(kernel) == drawn for kernel in kernels)


def test_a_preset_is_read_as_it_was_saved(model, saved, images):
    loaded = dolg_zoo.DOLG.from_preset(saved)

    weights = {weight.path: weight for weight in model.net.weights}
    assert {weight.path for weight in loaded.net.weights} == weights.keys()
    for weight in loaded.net.weights:
        np.testing.assert_array_equal(weight, weights[weight.path])
    np.testing.assert_allclose(loaded(images), model(images), atol=DESCRIPTOR)


@pytest.mark.slow
@pytest.mark.parametrize("name", NARROW)
def test_a_preset_carries_it_as_a_backbone_of_the_users_own(name, images, tmp_path):
    keras.utils.set_random_seed(0)
    config = dolg_zoo.DOLGConfig(hidden_dim=8, descriptor_dim=8, dilation_rates=())
    net = dolg_zoo.DOLGNet(build_backbone(name), config=config)
    dolg_zoo.DOLG(net, dolg_zoo.ImageConverter()).save_to_preset(tmp_path / "preset")

    loaded = dolg_zoo.DOLG.from_preset(tmp_path / "preset").net

    assert loaded.config.backbone is None
    np.testing.assert_allclose(loaded(images), net(images), atol=DESCRIPTOR)


@pytest.mark.slow
def test_keras_saves_the_network_whole(model, rng, tmp_path):
    backbone, image = model.net.backbone, rng.normal(size=(1, 40, 56, 3)).astype(np.float32)
    backbone.save(tmp_path / "backbone.keras")
    loaded = keras.saving.load_model(tmp_path / "backbone.keras")

    for ours, theirs in zip(loaded(image), backbone(image), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.bfloat16
def test_with_half_the_bits_descriptors_stay_alike(model, saved, images):
    half = dolg_zoo.DOLG.from_preset(saved, dtype="mixed_bfloat16")

    cosines = np.sum(np.asarray(half(images)) * np.asarray(model(images)), axis=1)
    np.testing.assert_allclose(cosines, 1, rtol=0, atol=0.01)


@pytest.mark.parametrize("name", SOME)
def test_one_step_of_training_moves_every_weight(name, images):
    construct = getattr(dolg_zoo, f"dolg_{name}")
    net = construct(descriptor_dim=8, hidden_dim=8, dilation_rates=()).net
    for weight in net.backbone.trainable_weights:  # SkipInit lets nothing through at first
        if weight.name == "skipinit_gain" or weight.path.endswith("conv3/gain"):
            weight.assign(np.ones(weight.shape))
    before = {weight.path: weight.numpy() for weight in net.backbone.trainable_weights}
    net.compile("sgd", "mse", run_eagerly=True)

    loss = net.train_on_batch(images.astype(np.float32), np.ones((2, 8), np.float32))

    assert np.isfinite(loss)
    for weight in net.backbone.trainable_weights:
        assert np.all(np.isfinite(weight)), weight.path
        assert np.any(weight != before[weight.path]), weight.path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "format"),
    [
        *[(name, kind) for name in SOME[:2] for kind in ("litert", "onnx", "openvino")],
        ("eca_nfnet_l0", "litert"),
    ],
    indirect=["model"],
)
def test_an_export_gives_the_same_descriptors(model, format, tmp_path, images):
    pytest.importorskip({"litert": "ai_edge_litert", "onnx": "tf2onnx"}.get(format, format))
    size = (65, 97) if format == "litert" else None
    path = tmp_path / {"litert": "m.tflite", "onnx": "m.onnx", "openvino": "m.xml"}[format]
    facts = model.export(path, format=format, size=size)  # refuses one that differs from the model
    assert facts["distance"] <= DESCRIPTOR

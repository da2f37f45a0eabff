import keras
import numpy as np
import pytest

from dolg_zoo.backbones import to_be_filled
from dolg_zoo.backbones.build import build_backbone
from dolg_zoo.backbones.resnet import resnet

BATCH_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


def official_keys(golden, model):
    """The official backbone's keys with shapes, each with the path of our variable."""
    for key, shape in golden.read("official_pytorch_keys")[model].items():
        if key.startswith("globalmodel.") and not key.endswith("num_batches_tracked"):
            *layer, kind = key.split(".")[1:]
            layer = "_".join(layer).replace("_f_", "_").replace("stem_conv_", "stem_")
            yield key, shape, f"{layer}/{'kernel' if len(shape) == 4 else BATCH_NORM[kind]}"


@pytest.mark.parametrize(
    ("depth", "model"), [(50, "r50"), pytest.param(101, "r101", marks=pytest.mark.slow)]
)
def test_layer_names_are_the_official_keys(golden, depth, model):
    with to_be_filled():
        network, _ = resnet(depth)

    ours = {variable.path: variable.shape for variable in network.weights}

    assert ours == {
        path: tuple(np.transpose(np.empty(shape), (2, 3, 1, 0)).shape if shape[1:] else shape)
        for _, shape, path in official_keys(golden, model)
    }


@pytest.mark.slow  # by default tests/models/test_golden.py compares the descriptors that they give
@pytest.mark.parametrize("size", [(224, 224), (193, 257)])
def test_taps_have_the_statistics_of_the_official_model(golden, size):
    with to_be_filled():
        backbone = build_backbone("resnet50")
    ours = {variable.path: variable for variable in backbone.weights}
    for key, shape, path in official_keys(golden, "r50"):
        value = golden.fill(key, shape)
        ours[path].assign(value.transpose(2, 3, 1, 0) if value.ndim == 4 else value)
    bgr = golden.image(*size)[..., ::-1] / 255
    image = (bgr - [0.406, 0.456, 0.485]) / [0.225, 0.224, 0.229]

    local, global_ = backbone.predict(image[None].astype(np.float32), verbose=0)

    expected = golden.read("official_pytorch")["r50"]["{}x{}".format(*size)]
    for tap, key in ((local, "f3_mean_std"), (global_, "f4_mean_std")):
        # recorded on another machine: 2e-6 off there, and a wrong weight shows at 1e-2
        assert [tap.mean(), tap.std()] == pytest.approx(expected[key], rel=1e-4)


def test_padding_is_the_same_on_both_sides(monkeypatch):
    """With kernels that are their own mirror image, a mirrored image gives the mirrored map."""
    monkeypatch.setitem(resnet.__globals__["_BLOCKS"], 50, (1, 1, 1, 1))
    network, levels = resnet(50, (33, 33, 3))
    tap = keras.Model(network.input, network.get_layer(levels["P2"]).output)
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel = layer.kernel.numpy()
            layer.kernel.assign((kernel + kernel[:, ::-1]) / 2)
    image = np.random.default_rng(0).normal(size=(1, 33, 33, 3)).astype(np.float32)

    straight, flipped = tap.predict(np.concatenate([image, image[:, :, ::-1]]), verbose=0)

    # sums in mirrored order, of values near 1; with padding on one side 0.1 and more
    np.testing.assert_allclose(flipped[:, ::-1], straight, atol=1e-4)


def test_other_depths_are_refused():
    with pytest.raises(ValueError, match=r"depth 34.*50, 101, 152"):
        resnet(34)

"""DOLGNet against outputs of the upstream code, on parameters made by the same rule.

The outputs were recorded on another machine, in PyTorch. Networks of 50 or 101 layers differ by
some 2e-6 between processors and frameworks; the bound is five times that. A wrong weight shows at
1e-2.
"""

import keras
import numpy as np
import pytest
from bounds import relative_error

from dolg_zoo.checkpoints.porting import LAYOUTS
from dolg_zoo.models import DOLGConfig, DOLGNet

# in RGB order; the official code has the same numbers in BGR order
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def build(config, state, port):
    keras.backend.clear_session()
    net = DOLGNet(config=config)
    ported = port(state, {weight.path: tuple(weight.shape) for weight in net.weights})
    for weight in net.weights:
        weight.assign(ported[weight.path])
    return net


def filled(golden, keys):
    return {
        key: np.array(0) if key.endswith("num_batches_tracked") else golden.fill(key, shape)
        for key, shape in keys.items()
    }


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("r50_ma", DOLGConfig.paper(backbone="resnet50", **IMAGENET)),
        *(
            pytest.param(
                *(name, DOLGConfig.official(backbone=backbone, **IMAGENET)), marks=pytest.mark.slow
            )
            for name, backbone in (("r50", "resnet50"), ("r101", "resnet101"))
        ),
    ],
)
def test_official_pytorch(golden, name, config):
    state = filled(golden, golden.read("official_pytorch_keys")[name])
    net = build(config, state, LAYOUTS["official_pytorch"].weights)
    for height, width in [(224, 224), (193, 257)]:
        expected = golden.read("official_pytorch")[name][f"{height}x{width}"]["descriptor"]
        descriptor = net(golden.image(height, width)[None])[0]
        np.testing.assert_allclose(relative_error(descriptor, expected), 0, atol=1e-5)


@pytest.mark.slow  # the network of r50, which is compared above, with keys of other names
def test_official_paddle(golden):
    state = {}
    for key, shape in golden.read("official_paddle_keys").items():
        name = key.replace("._mean", ".running_mean").replace("._variance", ".running_var")
        # a matrix is the transpose of PyTorch's
        state[key] = (
            golden.fill(name, shape[::-1]).T if len(shape) == 2 else golden.fill(name, shape)
        )
    config = DOLGConfig.official(backbone="resnet50", gem_power="fixed", gem_p=3.0, **IMAGENET)
    net = build(config, state, LAYOUTS["official_paddle"].weights)
    for size, golden_size in golden.read("official_paddle").items():
        height, width = map(int, size.split("x"))
        descriptor = net(golden.image(height, width)[None])[0]
        error = relative_error(descriptor, golden_size["descriptor"])
        np.testing.assert_allclose(error, 0, atol=1e-5)


@pytest.mark.slow
def test_dongkyuk_pytorch(golden):
    state = filled(golden, golden.read("dongkyuk_pytorch_keys"))
    config = DOLGConfig.dongkyuk(
        backbone="resnet101", gem_p=float(state["gem_pool.p"].item()), **IMAGENET
    )
    net = build(config, state, LAYOUTS["dongkyuk_pytorch"].weights)
    batch = np.stack([golden.image(224, 224, seed) for seed in (0, 1)])
    expected = golden.read("dongkyuk_pytorch")["224x224_batch_seed0_seed1"]["descriptor"]
    np.testing.assert_allclose(relative_error(net(batch), expected), 0, atol=1e-5)

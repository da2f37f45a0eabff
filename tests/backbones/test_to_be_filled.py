"""Networks whose weights are read from a file next do not draw random ones first."""

import importlib
import threading

import keras
import numpy as np
import pytest

from dolg_zoo.backbones import build_backbone, to_be_filled


def kernels(network):
    return [weight for weight in network.weights if weight.path.endswith("kernel")]


@pytest.fixture(autouse=True, scope="module")
def _few_blocks():
    """One block in each stage; the others are as the first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(importlib.import_module("dolg_zoo.backbones.resnet")._BLOCKS, 50, (1,) * 4)
        yield


@pytest.fixture(scope="module")
def unfilled():
    with to_be_filled():
        return build_backbone("resnet50")


@pytest.fixture(scope="module")
def after(unfilled):
    """A network that is built when the other is done."""
    return build_backbone("resnet50")


def test_within_kernels_start_at_zero(unfilled):
    assert len(kernels(unfilled)) == 1 + 3 * 4 + 4  # stem, blocks, shortcuts
    assert not any(np.any(kernel) for kernel in kernels(unfilled))


def test_outside_they_are_drawn_as_he_et_al_have_it(after):
    for kernel in kernels(after):
        fan_in = np.prod(kernel.shape[:3])
        assert np.std(kernel) == pytest.approx(np.sqrt(2 / fan_in), rel=0.05)


def test_outside_they_are_drawn_even_after_an_error():
    with pytest.raises(ValueError, match="No backbone"), to_be_filled():
        build_backbone("resnet51")
    assert np.any(kernels(build_backbone("resnet50"))[0])


def test_within_another_it_ends_with_the_outer_one():
    with to_be_filled():
        with to_be_filled():
            pass
        assert not np.any(kernels(build_backbone("resnet50"))[0])


def test_other_threads_build_as_ever():
    built = []
    with to_be_filled():
        thread = threading.Thread(target=lambda: built.append(build_backbone("resnet50")))
        thread.start()
        thread.join()
    assert all(np.any(kernel) for kernel in kernels(built[0]))


def test_nothing_of_it_stays_in_the_layers(unfilled, after):
    for layer, other in zip(unfilled.layers[1:], after.layers[1:], strict=True):
        assert layer.get_config() == other.get_config()
    layer = unfilled.get_layer("s2_b1_b")
    assert layer.get_config()["kernel_initializer"]["class_name"] == "HeNormal"
    copy = keras.layers.Conv2D.from_config(layer.get_config())
    copy.build((None, None, None, 128))
    assert np.any(copy.kernel)

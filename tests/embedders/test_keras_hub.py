"""DOLG over backbones of keras-hub is trained and exported as over others; skipped without it."""

import keras
import numpy as np
import pytest
from bounds import DESCRIPTOR
from keras_hub_backbones import small_backbone

from dolg_zoo import DOLG, DOLGConfig, DOLGNet, ImageConverter, two_taps

pytest.importorskip("keras_hub", reason="keras-hub is not installed")

QUICK = ("DenseNetBackbone",)
# convolutions of groups, attention, and levels of its own: the others have the same operations
FAMILIES = (*QUICK, "EfficientNetBackbone", "MiTBackbone", "RetinaNetBackbone")
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def model_over(kind):
    config = DOLGConfig(
        hidden_dim=8, descriptor_dim=4, dilation_rates=(), mean=(0.5,) * 3, std=(0.25,) * 3
    )
    return DOLG(DOLGNet(two_taps(small_backbone(kind)), config=config), ImageConverter(size=64))


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (4, 64, 64, 3), dtype="uint8")


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=[] if kind in QUICK else pytest.mark.slow) for kind in FAMILIES],
)
def test_a_step_of_training_moves_the_weights_and_lowers_the_loss(kind, images):
    model = model_over(kind)
    kernels = [w for w in model.net.backbone.trainable_weights if w.name.endswith("kernel")]
    before = [kernel.numpy() for kernel in kernels]
    classifier = model.with_margin_head(2, head="arcface", scale=4.0, margin=0.1)
    classifier.compile(keras.optimizers.Adam(1e-2), LOSS, run_eagerly=True)

    labels = np.arange(4) % 2
    losses = [classifier.train_on_batch(images, labels) for _ in range(3)]

    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    moved = [np.any(kernel != old) for kernel, old in zip(kernels, before, strict=True)]
    assert np.mean(moved) > 0.8  # RetinaNet has convolutions for levels that are not tapped


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAMILIES)
def test_an_export_gives_the_same_descriptors(kind, tmp_path):
    facts = model_over(kind).export(tmp_path / "m.tflite", format="litert")  # refuses another one
    assert facts["distance"] <= DESCRIPTOR

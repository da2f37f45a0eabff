"""The embedded preset against the backbone that it stands on, on real photographs."""

import keras
import numpy as np
import pytest

import dolg_zoo
from dolg_zoo.layers import GeneralizedMeanPooling2D
from dolg_zoo.preprocessing import ImageConverter, list_images, load_image
from dolg_zoo.presets import DEFAULT_PRESET

pytestmark = pytest.mark.slow


def mean_average_precision(descriptors, labels):
    unit = descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    precisions = []
    for row, label in zip(similarity, labels, strict=True):
        relevant = labels[np.argsort(-row, kind="stable")[:-1]] == label
        ranks = np.flatnonzero(relevant) + 1
        precisions.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
    return np.mean(precisions)


@pytest.mark.parametrize(("folder", "said"), [("vietnam", 0.852), ("instances", 0.953)])
def test_is_better_than_gem_features_of_the_imagenet_backbone(shared, folder, said):
    figures = dolg_zoo.DOLG.presets[DEFAULT_PRESET]["figures"]
    images = list_images(shared / "photos" / folder)
    labels = np.array([image.parent.name for image in images])
    # which is a third of the time of Keras, and equal to it: tests/runtimes/test_templates.py
    compiled = dolg_zoo.embedder(runtime="litert")
    ours = mean_average_precision(compiled.embed(images), labels)
    assert ours == pytest.approx(said, abs=1e-3) and said in [figure.value for figure in figures]

    net = dolg_zoo.DOLG.from_preset("dolg_efficientnet_lite_b0_imagenet").net
    gem = keras.Model(net.input, GeneralizedMeanPooling2D(3.0, "fixed")(net.get_layer("gem").input))
    squash = ImageConverter(size=224, interpolation="bicubic")
    batch = np.stack([squash(load_image(image)) for image in images])
    theirs = mean_average_precision(gem.predict(batch, verbose=0), labels)
    assert theirs == pytest.approx({"vietnam": 0.79, "instances": 0.93}[folder], abs=0.02)
    assert ours >= theirs + 0.02

"""The augmentation of a batch of training images, with Keras's own layers."""

from __future__ import annotations

import keras

from dolg_zoo.training.config import AugmentationPlan


def build_augmentation(plan: AugmentationPlan, seed: int) -> keras.Sequential:
    """Return layers that alter images (batch, height, width, 3) in [0, 255], each differently."""
    # no random crop here: it is taken from the decoded image at full resolution
    layers = [keras.layers.Identity(dtype="float32")]
    if plan.flip:
        layers.append(keras.layers.RandomFlip("horizontal", seed=seed, dtype="float32"))
    if plan.brightness or plan.contrast or plan.saturation or plan.hue:
        layers.append(
            keras.layers.RandomColorJitter(
                value_range=(0, 255),
                brightness_factor=plan.brightness or None,
                contrast_factor=plan.contrast or None,
                # in Keras a factor of 0.5 leaves the image unchanged
                saturation_factor=(0.5 - plan.saturation / 2, 0.5 + plan.saturation / 2),
                hue_factor=plan.hue or None,
                seed=seed + 1,
                dtype="float32",
            )
        )
    if plan.cut_out:
        layers.append(
            keras.layers.RandomErasing(
                factor=(1.0, 1.0),
                scale=(0.0, plan.cut_out),
                value_range=(0, 255),
                seed=seed + 2,
                dtype="float32",
            )
        )
    return keras.Sequential(layers, name="augmentation")

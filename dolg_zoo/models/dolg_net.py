"""DOLGNet: a backbone with two taps, and the DOLG head on it."""

from __future__ import annotations

from typing import Any

import keras

from dolg_zoo._util.arguments import whole_number
from dolg_zoo._util.forked import tensorflow_starts
from dolg_zoo._util.types import Tensor
from dolg_zoo.backbones import build_backbone
from dolg_zoo.backbones.build import check_keras
from dolg_zoo.layers import DOLGLocalBranch, GeneralizedMeanPooling2D, OrthogonalFusion
from dolg_zoo.models.dolg_config import DOLGConfig
from dolg_zoo.models.dtype_policy import check_not_quantized
from dolg_zoo.models.one_process import OneProcess


@keras.saving.register_keras_serializable(package="dolg_zoo")
class DOLGNet(OneProcess, keras.Model):
    """The DOLG network with any backbone.

    Source: Yang et al., "DOLG: Single-Stage Image Retrieval with Deep Orthogonal Fusion of Local
    and Global Features" (ICCV 2021, arXiv 2108.02927).

    Args:
        backbone: a functional `keras.Model` with one input and two outputs, the local map
            (batch, height, width, channels) and the global map, in this order;
            `dolg_zoo.backbones.two_taps` makes one. None if `config` names the backbone.
        num_classes: None for a descriptor; a number for a classifier over the fused vector.
        activation: the classifier's activation, for instance "softmax".
        config: the architecture of the head; None for the paper's.

    Input: images (batch, height, width, channels), uint8 or float. If `config` has `mean` and
        `std`, they are RGB in [0, 255], and the graph normalises them; otherwise they are the
        backbone's input.
    Output: float32, (batch, descriptor_dim), not normalised; or (batch, whitened_dim), if `config`
        has that; or (batch, num_classes).

    Raises:
        ValueError: if the backbone is not functional, or does not have one input and two feature
            maps as outputs; if neither or both of `backbone` and `config.backbone` are given.
    """

    keras_parts = ("backbone",)

    def __init__(
        self,
        backbone: keras.Model | None = None,
        num_classes: int | None = None,
        activation: Any = None,
        *,
        config: DOLGConfig | dict[str, Any] | None = None,
        name: str = "dolg_net",
        **kwargs: Any,
    ) -> None:
        check_keras()
        tensorflow_starts()
        if isinstance(config, dict):
            config = DOLGConfig.from_dict(config)
        config = DOLGConfig() if config is None else config
        if not isinstance(config, DOLGConfig):
            raise ValueError(f"config must be a DOLGConfig, got {config!r}.")
        if num_classes is not None:
            num_classes = whole_number("num_classes", num_classes, 1)
        if (backbone is None) == (config.backbone is None):
            raise ValueError(
                "DOLGNet needs one backbone: give a model, or a config whose backbone is the name"
                f" of one; got {backbone!r} and config.backbone={config.backbone!r}."
            )
        if config.backbone is not None:
            backbone = build_backbone(
                config.backbone, taps=config.taps, input_shape=config.input_shape
            )
        backbone = _with_plain_input(backbone)

        images = keras.Input(backbone.inputs[0].shape[1:], name="images")
        fused = _fused(config, *backbone(_normalized(config, images)))
        if num_classes is None:
            output = _descriptor(config, fused)
        else:
            output = keras.layers.Dense(
                num_classes, activation=activation, dtype="float32", name="classifier"
            )(fused)
        super().__init__(inputs=images, outputs=output, name=name, **kwargs)
        self.backbone = backbone
        self.num_classes = num_classes
        self.activation = activation
        self.config = config

    def build_graph(self) -> keras.Model:
        """Return the same network as a plain functional model.

        innat/DOLG-TensorFlow has a method of this name too.
        """
        return keras.Model(self.inputs, self.outputs, name=self.name)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments for `from_config`."""
        check_not_quantized(self)
        brought = self.backbone if self.config.backbone is None else None
        return {
            "name": self.name,
            "trainable": self.trainable,
            "backbone": brought and keras.saving.serialize_keras_object(brought),
            "num_classes": self.num_classes,
            "activation": keras.activations.serialize(keras.activations.get(self.activation)),
            "config": self.config.to_dict(),
        }


def _normalized(config: DOLGConfig, images: Tensor) -> Tensor:
    if config.mean is None or config.std is None:
        return images
    return keras.layers.Rescaling(
        scale=[1 / (255 * std) for std in config.std],
        offset=[-mean / std for mean, std in zip(config.mean, config.std, strict=True)],
        dtype="float32",  # bfloat16 has too few values for [0, 255]
        name="normalization",
    )(images)


def _fused(config: DOLGConfig, local_map: Tensor, global_map: Tensor) -> Tensor:
    """Return the fused vector of the two maps: (batch, 2 * hidden_dim)."""
    local_branch = DOLGLocalBranch(
        filters=config.hidden_dim,
        dilation_rates=config.dilation_rates,
        atrous_filters=config.atrous_filters,
        atrous_pointwise=config.atrous_pointwise,
        use_bias=config.local_bias,
        attention_channels=config.attention_channels,
        bn_epsilon=config.bn_epsilon,
        pool=True,
        name="local_branch",
    )
    gem = GeneralizedMeanPooling2D(config.gem_p, config.gem_power, config.gem_epsilon, name="gem")
    projection = keras.layers.Dense(config.hidden_dim, name="global_projection")
    parts = [local_branch(local_map), projection(gem(global_map))]
    return OrthogonalFusion(name="orthogonal_fusion")(parts)


def _descriptor(config: DOLGConfig, fused: Tensor) -> Tensor:
    """Return the descriptor: (batch, descriptor_dim), or (batch, whitened_dim)."""
    dense = keras.layers.Dense
    output = dense(config.descriptor_dim, dtype="float32", name="descriptor")(fused)
    if config.whitened_dim is not None:
        output = keras.layers.UnitNormalization(dtype="float32", name="unit")(output)
        output = dense(config.whitened_dim, dtype="float32", name="whitening")(output)
    return output


def _with_plain_input(backbone: keras.Model) -> keras.Model:
    """Return the checked backbone with a tensor as input, even if it was built from lists."""
    inputs, outputs = getattr(backbone, "inputs", None), getattr(backbone, "outputs", None)
    if not inputs or not outputs:
        raise ValueError(
            f"DOLGNet needs a functional keras.Model as backbone, got {backbone!r};"
            " dolg_zoo.backbones.two_taps makes one of any functional model."
        )
    shapes = [tuple(tensor.shape) for tensor in outputs]
    if len(inputs) != 1 or len(shapes) != 2 or any(len(shape) != 4 for shape in shapes):
        raise ValueError(
            "DOLGNet needs a backbone with one input and two outputs, the local and the global"
            f" map, each (batch, height, width, channels); {backbone.name!r} has {len(inputs)}"
            f" input(s) and outputs {shapes}. dolg_zoo.backbones.two_taps makes one."
        )
    if isinstance(backbone.input, (list, tuple, dict)):
        return keras.Model(inputs[0], outputs, name=backbone.name)
    return backbone

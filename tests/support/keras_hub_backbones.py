"""Small backbones of keras-hub with random weights, one of each kind: nothing is downloaded."""

from __future__ import annotations

import keras
import numpy as np

RESNET = {
    "input_conv_filters": [64],
    "input_conv_kernel_sizes": [7],
    "stackwise_num_filters": [64, 16, 24, 32],
    "stackwise_num_blocks": [1, 1, 1, 1],
    "stackwise_num_strides": [1, 2, 2, 2],
}
VISION_TRANSFORMER = {
    "patch_size": 16,
    "num_layers": 2,
    "hidden_dim": 16,
    "num_heads": 2,
    "intermediate_dim": 32,
}
SMALL = {
    "ResNetBackbone": {**RESNET, "block_type": "basic_block"},
    "ResNetBackbone bottleneck_vd": {
        **RESNET,
        "input_conv_filters": [8, 8, 64],
        "input_conv_kernel_sizes": [3, 3, 3],
        "block_type": "bottleneck_block_vd",
    },
    "ResNetBackbone V2": {**RESNET, "block_type": "basic_block", "use_pre_activation": True},
    "DenseNetBackbone": {"stackwise_num_repeats": [1, 1, 2, 1], "growth_rate": 4},
    "CSPNetBackbone": {
        "stem_filters": 8,
        "stem_kernel_size": 3,
        "stem_strides": 1,
        "stackwise_depth": [1, 1, 1, 1, 1],
        "stackwise_strides": [2, 2, 2, 2, 2],
        "stackwise_num_filters": [8, 8, 16, 16, 24],
        "block_type": "dark_block",
        "stage_type": "csp",
        "bottle_ratio": [0.5],
        "block_ratio": [1.0],
        "expand_ratio": [2.0],
    },
    "EfficientNetBackbone": {
        "stackwise_width_coefficients": [1.0] * 6,
        "stackwise_depth_coefficients": [1.0] * 6,
        "stackwise_kernel_sizes": [3, 3, 3, 5, 3, 3],
        "stackwise_num_repeats": [1, 1, 1, 1, 2, 1],
        "stackwise_input_filters": [8, 8, 16, 16, 16, 24],
        "stackwise_output_filters": [8, 16, 16, 16, 24, 24],
        "stackwise_expansion_ratios": [1, 4, 4, 4, 4, 4],
        "stackwise_squeeze_and_excite_ratios": [0.0, 0.0, 0.25, 0.25, 0.25, 0.25],
        "stackwise_strides": [1, 2, 2, 2, 1, 2],
        "stackwise_block_types": ["cba", "fused", "v1", "unfused", "unfused", "v1"],
        "stackwise_force_input_filters": [0] * 6,
        "stackwise_nores_option": [False] * 6,
        "num_features": 32,
    },
    "MiTBackbone": {
        "layerwise_depths": [1, 1, 1],
        "num_layers": 3,
        "layerwise_num_heads": [1, 2, 2],
        "layerwise_sr_ratios": [4, 2, 1],
        "max_drop_path_rate": 0.2,
        "layerwise_patch_sizes": [7, 3, 3],
        "layerwise_strides": [8, 2, 2],
        "hidden_dims": [8, 16, 16],
        "image_shape": (64, 64, 3),
    },
    "MobileNetBackbone": {
        "stackwise_expansion": [[16], [32], [32], [32], [64]],
        "stackwise_num_blocks": [1, 1, 1, 1, 1],
        "stackwise_num_filters": [[8], [16], [16], [24], [24]],
        "stackwise_kernel_size": [[3], [5], [3], [5], [3]],
        "stackwise_num_strides": [[2], [1], [2], [2], [1]],
        "stackwise_se_ratio": [[None], [0.25], [None], [0.25], [0.25]],
        "stackwise_activation": [
            ["relu"],
            ["hard_swish"],
            ["relu6"],
            ["hard_swish"],
            ["hard_swish"],
        ],
        "stackwise_padding": [[1], [2], [1], [2], [1]],
        "output_num_filters": 32,
        "input_activation": "hard_swish",
        "output_activation": "hard_swish",
        "input_num_filters": 8,
        "depthwise_filters": 8,
        "depthwise_stride": 2,
        "depthwise_residual": False,
        "squeeze_and_excite": 0.5,
        "last_layer_filter": 40,
    },
    "HGNetV2Backbone": {
        "depths": [1, 1, 2, 1],
        "embedding_size": 8,
        "hidden_sizes": [16, 16, 24, 32],
        "stem_channels": [3, 8, 8],
        "hidden_act": "relu",
        "use_learnable_affine_block": True,
        "stackwise_stage_filters": [
            (8, 8, 16, 1, 2, 3),
            (16, 8, 16, 1, 2, 3),
            (16, 8, 24, 2, 2, 5),
            (24, 8, 32, 1, 2, 5),
        ],
        "apply_downsample": [False, True, True, True],
        "use_lightweight_conv_block": [False, False, True, True],
    },
    "XceptionBackbone": {
        "stackwise_conv_filters": [[8, 8], [12, 12], [16, 16], [20, 20], [24, 24], [32, 32]],
        "stackwise_pooling": [False, True, True, True, True, False],
        "image_shape": (96, 96, 3),
    },
    "VGGBackbone": {
        "stackwise_num_repeats": [1, 1, 1, 1, 1],
        "stackwise_num_filters": [8, 8, 16, 16, 24],
        "image_shape": (64, 64, 3),
    },
    "DINOV2Backbone": {**VISION_TRANSFORMER, "image_shape": (64, 64, 3)},
    "DINOV3Backbone": {**VISION_TRANSFORMER, "image_shape": (64, 64, 3)},
    "ViTBackbone": {
        "image_shape": (64, 64, 3),
        "patch_size": 16,
        "num_layers": 1,
        "num_heads": 2,
        "hidden_dim": 16,
        "mlp_dim": 32,
    },
    "SwinTransformerBackbone": {
        "image_shape": (64, 64, 3),
        "embed_dim": 8,
        "depths": (1, 1, 2, 1),
        "num_heads": (1, 1, 2, 2),
        "window_size": 2,
    },
}


def small_backbone(kind: str) -> keras.Model:
    """Return a new backbone whose weights, those of normalisations too, are not what they were."""
    import keras_hub

    keras.utils.set_random_seed(0)
    if kind == "RetinaNetBackbone":
        backbone = keras_hub.models.RetinaNetBackbone(
            image_encoder=small_backbone("ResNetBackbone"), min_level=3, max_level=6, use_p5=False
        )
    else:
        backbone = getattr(keras_hub.models, kind.split()[0])(**SMALL[kind])
    rng = np.random.default_rng(0)
    for weight in backbone.weights:
        if weight.name in ("gamma", "moving_variance", "scale"):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif weight.name in ("beta", "moving_mean", "bias"):
            weight.assign(rng.normal(0, 0.1, weight.shape))
    return backbone

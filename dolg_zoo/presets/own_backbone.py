"""A custom backbone as data: a graph of allowed layers only."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import Any

import keras

from dolg_zoo._util.modules import is_installed
from dolg_zoo.errors import PresetError
from dolg_zoo.models.dolg_config import MAX_SIZE

# Each of these layers only computes on its input. Others run code (Lambda) or open paths
# (TFSMLayer, lookup layers): check a layer's source before you allow it here.
LAYERS = """
    Activation Add Attention Average AveragePooling2D BatchNormalization CenterCrop Concatenate
    Conv1D Conv2D Conv2DTranspose Cropping2D Dense DepthwiseConv2D Dot Dropout ELU EinsumDense
    Embedding Flatten GlobalAveragePooling2D GlobalMaxPooling2D GroupNormalization Identity
    InputLayer LayerNormalization LeakyReLU MaxPooling2D Maximum Minimum MultiHeadAttention
    Multiply Normalization PReLU Permute RMSNormalization ReLU Rescaling Reshape SeparableConv2D
    Sequential Softmax SpatialDropout2D Subtract UnitNormalization UpSampling2D ZeroPadding2D
"""
# The layers of keras-hub 0.32, by the module that their configuration names.
KERAS_HUB = {
    "keras_hub.src.models.efficientnet.cba": {"CBABlock"},
    "keras_hub.src.models.efficientnet.fusedmbconv": {"FusedMBConvBlock"},
    "keras_hub.src.models.efficientnet.mbconv": {"MBConvBlock"},
    "keras_hub.src.models.hgnetv2.hgnetv2_encoder": {"HGNetV2Encoder"},
    "keras_hub.src.models.hgnetv2.hgnetv2_layers": {"HGNetV2Embeddings"},
    "keras_hub.src.models.mit.mit_layers": {
        "HierarchicalTransformerEncoder",
        "OverlappingPatchingAndEmbedding",
    },
    "keras_hub.src.models.mobilenet.mobilenet_backbone": {
        "ConvBnActBlock",
        "DepthwiseConvBlock",
        "InvertedResidualBlock",
    },
    "keras_hub.src.models.retinanet.feature_pyramid": {"FeaturePyramid"},
}
OURS = {
    "dolg_zoo.backbones.convolution": {"GroupedConv2D"},
    "dolg_zoo.backbones.nfnet": {"Residual", "ScaledActivation", "ScaledStdConv2D"},
}
ALLOWED_CLASSES = {
    **KERAS_HUB,
    **OURS,
    "keras.layers": {*LAYERS.split()},
    "keras": {"DTypePolicy", "Sequential", "Functional", "Model"},
    "keras.src.models.functional": {"Functional"},
    "keras.src.applications.convnext": {"LayerScale"},
}
# Arithmetic on tensors, such as `a + b`, and objects that only initialise or limit variables.
ALLOWED_MODULES = (
    "keras.src.ops.numpy",
    "keras.src.ops.nn",
    "keras.src.ops.math",
    "keras.initializers",
    "keras.regularizers",
    "keras.constraints",
)
# the registered names of allowed functions
FUNCTIONS = ("dolg_zoo>gelu",)
# Settings that make a layer's variables large: they are limited, to limit the memory.
WIDTHS = """
    depth_multiplier expand_ratio expansion filter filters infilters input_dim input_filters
    key_dim num_filters num_heads output_dim output_filters output_shape project_dim se_ratio
    squeeze_excite_ratio stage_in_channels stage_mid_channels stage_out_channels stem_channels
    units value_dim
"""
MAX_WEIGHTS = 2**29
# Settings of keras-hub layers that are a number of layers to make.
DEPTHS = {"max_level", "stage_num_blocks", "stage_num_of_layers"}
MAX_DEPTH = 64
NORMALIZING = ("Rescaling", "Normalization", "InputLayer")
# class names with which Keras writes tensors, tuples and slices in JSON
MARKERS = {"__keras_tensor__", "__tuple__", "__tensor__", "__numpy__", "__slice__"}
# JSON has no infinity, which ResNet V2's padding needs, so it is written under this class name.
INFINITE = "__infinite__"


def _arguments_of_mit(layer: Any) -> dict[str, Any]:
    return {
        "project_dim": layer.project_dim,
        "num_heads": layer.num_heads,
        "sr_ratio": layer.attn.sr_ratio,
        "drop_prob": layer.drop_prop,
        "layer_norm_epsilon": layer.norm1.epsilon,
    }


# Layers of keras-hub whose `get_config` does not fit their constructor: the keys to drop, and the
# function that returns the right arguments. keras-hub itself never reads these configurations.
CORRECTED: dict[str, tuple[set[str], Callable[[Any], dict[str, Any]]]] = {
    "HierarchicalTransformerEncoder": ({"mlp", "drop_prop"}, _arguments_of_mit),
    "DepthwiseConvBlock": (set(), lambda layer: {"name": layer.name.removesuffix("_0")}),
}


def serialize_backbone(backbone: keras.Model) -> dict[str, Any]:
    """Return the backbone's graph without weights; raise PresetError for unsupported layers."""
    config = keras.saving.serialize_keras_object(backbone)
    _correct(config, backbone)
    _check_allowed(config)
    return _mapped(config, _infinity_to_json)


def deserialize_backbone(
    config: dict[str, Any], dtype: str | keras.DTypePolicy | None = None
) -> keras.Model:
    """Return the backbone that `serialize_backbone` described, with new weights."""
    # PresetError: layers are unsupported, too many or too wide, or keras-hub lacks one. Without
    # `dtype`, each layer has its saved dtype policy.
    config = _mapped(config, _infinity_from_json)
    _check_allowed(config)
    _import_keras_hub(config)
    # Keras has a list per thread of variables without values, and would fill them when it next
    # computes a shape. A thread of its own ends together with that list.
    with ThreadPoolExecutor(1, "sketch") as pool:
        weights = pool.submit(_count_weights, config).result()
    if weights > MAX_WEIGHTS:
        raise PresetError(
            f"the backbone would have {weights // 10**6} million weights, more than the limit of"
            f" {MAX_WEIGHTS // 10**6} million."
        )
    if dtype is not None:
        config = deepcopy(config)
        _set_dtype_policy(config, keras.dtype_policies.get(dtype).name)
    return keras.saving.deserialize_keras_object(config, safe_mode=True)


def _set_dtype_policy(config: dict[str, Any], policy: str) -> None:
    """Change the dtype policy of all layers except those that normalise images."""
    for item in _dictionaries(config):
        module = item.get("module")
        is_layer = str(module).startswith("keras.layers") or module in {*KERAS_HUB, *OURS}
        settings = item.get("config")
        if is_layer and item["class_name"] not in NORMALIZING and isinstance(settings, dict):
            dtype = settings.get("dtype")
            if isinstance(dtype, dict) and isinstance(dtype.get("config"), dict):
                dtype["config"]["name"] = policy


def _count_weights(config: dict[str, Any]) -> int:
    copy = deepcopy(config)  # Keras changes its argument
    with keras.StatelessScope(initialize_variables=False):  # its variables take no memory
        return keras.saving.deserialize_keras_object(copy, safe_mode=True).count_params()


def _correct(config: dict[str, Any], model: keras.Model) -> None:
    """Correct the configurations of layers whose `get_config` does not fit their constructor."""
    layers = {layer.name: layer for layer in model.layers}
    for item in config["config"]["layers"]:
        layer = layers.get(item.get("name"))
        if isinstance(layer, keras.Model) and "layers" in item["config"]:
            _correct(item, layer)
        elif item["module"] in KERAS_HUB:
            item.pop("build_config", None)  # the graph builds the layers; some have no build()
            wrong, arguments = CORRECTED.get(item["class_name"], (set(), lambda layer: {}))
            right = {key: value for key, value in item["config"].items() if key not in wrong}
            item["config"] = {**right, **arguments(layer)}


def _mapped(item: Any, change: Callable[[Any], Any]) -> Any:
    """Return a copy with `change` applied to each value, containers before their contents."""
    item = change(item)
    if isinstance(item, dict):
        return {key: _mapped(value, change) for key, value in item.items()}
    if isinstance(item, (list, tuple)):
        return [_mapped(value, change) for value in item]
    return item


def _infinity_to_json(item: Any) -> Any:
    if isinstance(item, float) and math.isinf(item):
        return {"class_name": INFINITE, "config": "+" if item > 0 else "-"}
    return item


def _infinity_from_json(item: Any) -> Any:
    if isinstance(item, dict) and item.get("class_name") == INFINITE:
        return -math.inf if item.get("config") == "-" else math.inf
    return item


def _import_keras_hub(config: object) -> None:
    """Import the keras-hub classes that the description names, so that Keras finds them."""
    for item in _named_classes(config):
        module, name = item.get("module"), item["class_name"]
        if module not in KERAS_HUB:
            continue
        if not is_installed("keras_hub"):
            raise PresetError(
                f"the backbone has {name} of keras-hub, which is not installed: pip install"
                ' "dolg-zoo[keras-hub]".'
            )
        try:
            exists = hasattr(importlib.import_module(module), name)
        except ModuleNotFoundError as error:
            if not f"{module}.".startswith(
                f"{error.name}."
            ):  # a dependency of keras-hub is missing
                raise
            exists = False
        if not exists:
            raise PresetError(
                f"the backbone has {name} of {module!r}, which the installed keras-hub does not"
                ' have. Install a release that has it: pip install "dolg-zoo[keras-hub]".'
            )


def _check_allowed(config: object) -> None:
    """Raise PresetError for a class that is not allowed, or a layer that is too large."""
    for item in _named_classes(config):
        module: Any = item.get("module")
        name, registered_name = item["class_name"], item.get("registered_name")
        is_allowed = name in ALLOWED_CLASSES.get(module, ()) or (
            module in ALLOWED_MODULES and str(name).isidentifier()
        )
        # Keras looks up the registered name first, and any code may have registered a class.
        names = {None, name}
        if module in KERAS_HUB or module in OURS:
            names.add(f"{module.partition('.')[0]}>{name}")
        if (module, name) == ("builtins", "function"):
            is_allowed = item.get("config") in FUNCTIONS
        if not is_allowed or registered_name not in names:
            raise PresetError(
                f"the backbone holds {registered_name or name!r} of {module!r}. A preset can have"
                " only those layers of Keras, keras-hub and dolg-zoo that compute on their input"
                " alone, so that loading it runs no foreign code. Use a backbone of"
                " dolg_zoo.backbones.BACKBONES, or save the model with model.save('….keras')."
            )
    for item in _dictionaries(config):
        for key in item.keys() & WIDTHS.split():
            if any(size > MAX_SIZE for size in _numbers(item[key])):
                raise PresetError(
                    f"a layer of the backbone has {key}={item[key]!r}; the limit is {MAX_SIZE}."
                )
        for key in DEPTHS & item.keys():
            if sum(map(abs, _numbers(item[key]))) > MAX_DEPTH:
                raise PresetError(
                    f"a layer of the backbone has {key}={item[key]!r}; the limit of the sum is"
                    f" {MAX_DEPTH}."
                )


def _numbers(value: object) -> list[int | float]:
    return [item for item in keras.tree.flatten(value) if isinstance(item, (int, float))]


def _named_classes(config: Any) -> Iterator[dict[str, Any]]:
    """Yield each dictionary that describes an object of a class that Keras would look up."""
    for item in _dictionaries(config):
        if "class_name" in item and not (
            item.get("module") is None and item["class_name"] in MARKERS
        ):
            yield item


def _dictionaries(config: Any) -> Iterator[dict[str, Any]]:
    waiting = [config]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting += item.values()
        elif isinstance(item, (list, tuple)):
            waiting += item

"""A backbone that is not in our table, as data: a graph of Keras's own layers and no others."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import Any

import keras

from dolg_zoo.errors import PresetError
from dolg_zoo.models.dolg_config import MAX_SIZE

# Each computes on its input and nothing else. Lambda runs what it is given, TFSMLayer and the
# lookup layers open paths, and so on: a layer is let in here only after a look at it.
LAYERS = {
    "Activation",
    "Add",
    "Attention",
    "Average",
    "AveragePooling2D",
    "BatchNormalization",
    "CenterCrop",
    "Concatenate",
    "Conv2D",
    "Conv2DTranspose",
    "Cropping2D",
    "Dense",
    "DepthwiseConv2D",
    "Dot",
    "Dropout",
    "ELU",
    "EinsumDense",
    "Embedding",
    "Flatten",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling2D",
    "GroupNormalization",
    "Identity",
    "InputLayer",
    "LayerNormalization",
    "LeakyReLU",
    "MaxPooling2D",
    "Maximum",
    "Minimum",
    "MultiHeadAttention",
    "Multiply",
    "Normalization",
    "PReLU",
    "Permute",
    "RMSNormalization",
    "ReLU",
    "Rescaling",
    "Reshape",
    "SeparableConv2D",
    "Sequential",
    "Softmax",
    "SpatialDropout2D",
    "Subtract",
    "UnitNormalization",
    "UpSampling2D",
    "ZeroPadding2D",
}
ALLOWED_IN = {
    "keras.layers": LAYERS,
    "keras": {"DTypePolicy", "Sequential", "Functional", "Model"},
    "keras.src.models.functional": {"Functional"},
    "keras.src.applications.convnext": {"LayerScale"},
}
# arithmetic on tensors, such as the `a + b` of two maps; and what only shapes or fills variables
ALLOWED_MODULES = (
    "keras.src.ops.numpy",
    "keras.src.ops.nn",
    "keras.src.ops.math",
    "keras.initializers",
    "keras.regularizers",
    "keras.constraints",
)
# What makes a layer's variables large; a stranger must not ask for more memory than there is.
WIDTHS = {
    "depth_multiplier",
    "filters",
    "input_dim",
    "key_dim",
    "num_heads",
    "output_dim",
    "output_shape",
    "units",
    "value_dim",
}
MAX_WEIGHTS = 2**29
NORMALIZING = ("Rescaling", "Normalization", "InputLayer")
# Keras's way to write a tensor of the graph, or a tuple, into JSON
MARKERS = {"__keras_tensor__", "__tuple__", "__tensor__", "__numpy__", "__slice__"}


def serialize_backbone(backbone: keras.Model) -> dict[str, Any]:
    """Return the backbone's graph, without its weights, for `deserialize_backbone`.

    Raises:
        PresetError: if it holds layers that a preset does not carry, or wider ones.
    """
    config = keras.saving.serialize_keras_object(backbone)
    _refuse_strangers(config)
    _refuse_giants(config)
    return config


def deserialize_backbone(
    config: dict[str, Any], dtype: str | keras.DTypePolicy | None = None
) -> keras.Model:
    """Return the backbone that `serialize_backbone` described, with new weights.

    Args:
        config: the description.
        dtype: a dtype policy for its layers; None for that which each was saved with.

    Raises:
        PresetError: if the description names anything but the layers a preset carries, or more or
            wider ones than any needs.
    """
    _refuse_strangers(config)
    _refuse_giants(config)
    # Keras keeps a list for each thread of the variables that are still to be filled, and fills
    # those when next it computes a shape: what is sketched is to be on no list but one that ends.
    with ThreadPoolExecutor(1, "sketch") as pool:
        weights = pool.submit(_count_weights, config).result()
    if weights > MAX_WEIGHTS:
        raise PresetError(
            f"the backbone would have {weights // 10**6} million weights, and"
            f" {MAX_WEIGHTS // 10**6} million are the most."
        )
    if dtype is not None:
        config = deepcopy(config)
        _set_dtype_policy(config, keras.dtype_policies.get(dtype).name)
    return keras.saving.deserialize_keras_object(config, safe_mode=True)


def _set_dtype_policy(config: dict[str, Any], policy: str) -> None:
    """Change the dtype policy of all layers but those that normalise images."""
    for item in _dictionaries(config):
        is_layer = str(item.get("module")).startswith("keras.layers")
        settings = item.get("config")
        if is_layer and item["class_name"] not in NORMALIZING and isinstance(settings, dict):
            dtype = settings.get("dtype")
            if isinstance(dtype, dict) and isinstance(dtype.get("config"), dict):
                dtype["config"]["name"] = policy


def _count_weights(config: dict[str, Any]) -> int:
    with keras.StatelessScope(initialize_variables=False):  # variables take no memory in it
        # a copy, for Keras changes what it is given
        return keras.saving.deserialize_keras_object(
            deepcopy(config), safe_mode=True
        ).count_params()


def _refuse_strangers(config: object) -> None:
    for module, name, registered_name in _named_classes(config):
        known = name in ALLOWED_IN.get(module, ()) or (
            module in ALLOWED_MODULES and str(name).isidentifier()
        )
        # Keras looks a registered name up first, among whatever the process has registered
        if not known or registered_name not in (None, name):
            raise PresetError(
                f"the backbone holds {registered_name or name!r} of {module!r}, and a preset"
                " carries only Keras's own layers that compute on their input alone, so that"
                " loading one runs no foreign code. Use a backbone of"
                " dolg_zoo.backbones.BACKBONES, or save the model with model.save('….keras')."
            )


def _refuse_giants(config: object) -> None:
    for item in _dictionaries(config):
        for key in WIDTHS & item.keys():
            sizes = [size for size in keras.tree.flatten(item[key]) if isinstance(size, int)]
            if any(size > MAX_SIZE for size in sizes):
                raise PresetError(
                    f"a layer of the backbone has {key}={item[key]!r}, and {MAX_SIZE} is the most."
                )


def _named_classes(config: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Every (module, class, registered name) that the description would have Keras look up."""
    for item in _dictionaries(config):
        name = item.get("class_name")
        if "class_name" in item and not (item.get("module") is None and name in MARKERS):
            yield item.get("module"), name, item.get("registered_name")


def _dictionaries(config: Any) -> Iterator[dict[str, Any]]:
    waiting = [config]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting += item.values()
        elif isinstance(item, (list, tuple)):
            waiting += item

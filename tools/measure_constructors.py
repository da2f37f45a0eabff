"""Writes what each constructor's network costs: dolg_zoo/embedders/constructor_sizes.json.

Parameters, multiply-adds for one image of 256×256 pixels, and the channels of both taps, of every
`dolg_<backbone>()` with its default values. The networks are built and traced; nothing is computed.
`dolg presets --constructors` and the documents show the file. Run this after a change to the table
of backbones, or to what a constructor builds:

    python tools/measure_constructors.py
"""

import argparse
import json
from math import prod

import keras
import tensorflow as tf

from dolg_zoo.backbones import BACKBONES
from dolg_zoo.embedders.constructor_table import SIZE, SIZES_FILE
from dolg_zoo.embedders.constructors import constructor
from dolg_zoo.publishing.architecture import architecture_of


def main():
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    sizes = {}
    for name in BACKBONES:
        sizes[name] = measure(name)
        print(name, sizes[name], flush=True)
        keras.backend.clear_session()
    lines = (f"  {json.dumps(name)}: {json.dumps(size)}" for name, size in sizes.items())
    SIZES_FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"Wrote {SIZES_FILE.name}.")


def measure(backbone):
    """Return the figures of the constructor of one backbone, as the file has them."""
    shape = (SIZE, SIZE, 3) if BACKBONES[backbone].square else BACKBONES[backbone].input_shape
    with keras.StatelessScope(initialize_variables=False):  # nor do weights take memory
        net = constructor(backbone)(input_shape=shape).net
    known = architecture_of(net)
    return {
        "parameters": known.parameters,
        "multiply_adds": multiply_adds(net, (1, SIZE, SIZE, 3)),
        "channels": [known.local.channels, known.global_.channels],
    }


def multiply_adds(model, shape):
    """Return how often a model multiplies and adds in convolutions and matrix products.

    Padding counts as computed, as it does in the published figures of networks. Normalisation,
    activations, pooling and sums are not counted.

    Args:
        model: a Keras model.
        shape: the shape of its input, with the batch.
    """

    def call(images, values):
        with keras.StatelessScope(list(zip(model.weights, values, strict=True))):
            return model(images, training=False)

    values = [tf.TensorSpec(weight.shape, weight.dtype) for weight in model.weights]
    graph = tf.function(call).get_concrete_function(tf.TensorSpec(shape), values).graph
    return sum(map(_of_operation, graph.get_operations()))


def _of_operation(operation):
    shapes = [tuple(tensor.shape) for tensor in operation.inputs]
    if operation.type == "Conv2D":
        height, width, channels, _ = shapes[1]  # of a group's channels
        return prod(operation.outputs[0].shape) * height * width * channels
    if operation.type == "DepthwiseConv2dNative":
        return prod(operation.outputs[0].shape) * shapes[1][0] * shapes[1][1]
    if operation.type in ("MatMul", "BatchMatMulV2"):
        transposed = operation.get_attr("transpose_a" if operation.type == "MatMul" else "adj_x")
        return prod(operation.outputs[0].shape) * shapes[0][-2 if transposed else -1]
    if operation.type == "Einsum":
        inputs = operation.get_attr("equation").decode().partition("->")[0].split(",")
        sizes = {}
        for letters, shape in zip(inputs, shapes, strict=True):
            sizes.update(zip(letters, shape, strict=True))
        return prod(sizes.values())
    if "PartitionedCall" in operation.type:
        raise ValueError(f"{operation.name} is a function, whose operations are not counted")
    return 0


if __name__ == "__main__":
    main()

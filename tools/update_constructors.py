"""Writes what follows from the table of backbones: names for editors, and the cost of each network.

- dolg_zoo/__init__.pyi and dolg_zoo/embedders/constructors.pyi name each `dolg_<backbone>`.
- dolg_zoo/embedders/constructor_sizes.json has parameters, multiply-adds for one image of 256×256
  pixels, and the channels of both taps, of each with its default values. `dolg presets
  --constructors` and the documents show it. Networks are built and traced; nothing is computed.

Run this after a change to the table. --all measures again what the file has already: run it so
after a change to what a constructor builds.

    python tools/update_constructors.py
"""

import argparse
import json
import re
from math import prod
from pathlib import Path

import keras
import tensorflow as tf

import dolg_zoo
from dolg_zoo.backbones import BACKBONES
from dolg_zoo.embedders.constructor_table import SIZE, SIZES_FILE
from dolg_zoo.embedders.constructors import constructor
from dolg_zoo.publishing.architecture import architecture_of


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--all", action="store_true", help="measure each network again")
    known = {} if parser.parse_args().all else json.loads(SIZES_FILE.read_text(encoding="utf-8"))
    sizes = {}
    for name in BACKBONES:
        if name not in known:
            known[name] = measure(name)
            print(name, known[name], flush=True)
            keras.backend.clear_session()
        sizes[name] = known[name]
    lines = (f"  {json.dumps(name)}: {json.dumps(size)}" for name, size in sizes.items())
    package = Path(dolg_zoo.__file__).parent
    texts = stubs(package, BACKBONES)
    texts[SIZES_FILE] = "{\n" + ",\n".join(lines) + "\n}\n"
    for path, text in texts.items():
        if path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"Wrote {path.relative_to(package.parent)}.")


def stubs(package, backbones):
    """Return the path and the new text of each stub that names the constructors."""
    names = sorted((f"dolg_{name}" for name in backbones), key=_numbers_by_value)
    texts = {}
    for stub, line in (
        (package / "__init__.pyi", '    "{}",\n'),  # in __all__
        (package / "__init__.pyi", "    {},\n"),  # imported
        (package / "embedders" / "constructors.pyi", "{}: Constructor\n"),
    ):
        text = texts.get(stub) or stub.read_text(encoding="utf-8")
        block = f"(?:^{line.format('dolg_[a-z0-9_]+')})+"
        texts[stub] = re.sub(block, "".join(map(line.format, names)), text, flags=re.MULTILINE)
    return texts


def _numbers_by_value(name):
    """Sort as ruff does: dolg_resnet50 before dolg_resnet101."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


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

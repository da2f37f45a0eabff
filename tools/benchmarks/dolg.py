"""dolg-zoo's own routes, as `benchmark.py` times them.

Usage: python -m benchmarks.dolg prepare PRESET|embedded STATE.pt|none PHOTOS|none SIZE,SIZE…
           RUNTIME…
       python -m benchmarks.dolg serve PRESET|embedded RUNTIME THREADS
       python -m benchmarks.dolg serve-files PRESET|embedded RUNTIME THREADS

The first compiles, with its cache in $DOLG_ZOO_CACHE, and prints JSON; the others are for a
`Worker`, and those of a runtime do not import TensorFlow.
"""

import functools
import json
import os
import sys
from pathlib import Path

from benchmarks.common import serve
from benchmarks.images import images
from dolg_zoo.embedders.compiled import CompiledDOLG, remember_compiled
from dolg_zoo.preprocessing import ImageConverter, list_images
from dolg_zoo.presets import resolve_preset
from dolg_zoo.runtimes import PRECISIONS, RUNTIMES, RuntimeMissingError

NAMES = {"openvino": "OpenVINO", "onnx": "ONNX Runtime", "litert": "LiteRT", "keras": "Keras"}
CALIBRATION = 200  # photographs at most


def routes_of(runtime):
    """Name to precision of those that a runtime may have."""
    if runtime == "keras":
        return {"Keras, tf.function": "float32", "Keras, frozen": "float32"}
    precisions = [each for each in PRECISIONS if each in RUNTIMES[runtime].precisions]
    return {f"{NAMES[runtime]} {precision}": precision for precision in precisions}


def name_of(preset):
    return None if preset == "embedded" else preset


def prepare(preset, state, photos, sizes, *runtimes):
    """Compiles a preset, made of a state dict first if one is given, for runtimes."""
    from dolg_zoo import DOLG

    if state != "none":
        from dolg_zoo.presets import Preset, convert_checkpoint, write_preset

        net = convert_checkpoint(Path(state), "official_pytorch", {}).preset.net
        write_preset(preset, Preset(net, ImageConverter(224), {"name": "random"}))
    resolved = resolve_preset(name_of(preset))
    model = DOLG.from_preset(resolved)
    calibration = [images(1, 224 + 8 * i)[0] for i in range(16)]
    if photos != "none":
        found = list_images(photos)
        calibration = found[:: -(-len(found) // CALIBRATION)]
    missing = {}
    for runtime in runtimes:
        for name, precision in routes_of(runtime).items():
            try:
                if runtime != "keras":
                    model.compile_for_inference(runtime, precision, calibration=calibration)
            except (RuntimeMissingError, ImportError) as error:
                missing[name] = str(error)
    remember_compiled(model, resolved)
    counts = multiply_adds(model, *map(int, sizes.split(",")))
    print(json.dumps({"missing": missing, "multiply-adds": counts}))


def multiply_adds(model, *sizes):
    """Of convolutions and matrix products, for one image of each size."""
    import tensorflow as tf

    counts = {}
    for size in sizes:
        signature = tf.TensorSpec((1, size, size, 3), tf.uint8)
        traced = tf.function(lambda x: model(x, training=False), [signature])
        graph = traced.get_concrete_function().graph
        counts[str(size)] = sum(map(_multiply_adds, graph.get_operations()))
    return counts


def _multiply_adds(op):
    if op.type not in ("Conv2D", "DepthwiseConv2dNative", "MatMul", "BatchMatMulV2"):
        return 0
    out, (left, right) = op.outputs[0].shape.num_elements(), op.inputs
    if op.type == "Conv2D":
        return out * right.shape[:3].num_elements()
    if op.type == "DepthwiseConv2dNative":
        return out * right.shape[:2].num_elements()
    transposed = op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x")
    return out * left.shape[-2 if transposed else -1]


def models(preset, runtime, threads):
    """Name of each route to what embeds by it, or to why it cannot be had."""
    if runtime == "keras":
        import tensorflow as tf

        from dolg_zoo import DOLG

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        model = DOLG.from_preset(name_of(preset))
        frozen = model.compile_for_inference("keras")
        return dict(zip(routes_of("keras"), (model, frozen), strict=True)), tf.__version__
    found = {}
    for name, precision in routes_of(runtime).items():
        try:
            found[name] = CompiledDOLG.cached(name_of(preset), runtime, precision, threads)
        except RuntimeMissingError as error:
            found[name] = str(error)
        found[name] = found[name] or "it could not be compiled"
    return found, RUNTIMES[runtime].version


def by_arrays(model, batch, size):
    return model.infer(images(batch, size))


def by_files(model, files, batch, converter):
    model.image_converter = ImageConverter.from_config(converter)
    own = {"runtime": "keras"} if not isinstance(model, CompiledDOLG) else {"precision": None}
    return model.embed(files, batch_size=batch, progress=False, **own)


def main(work, preset, runtime, threads):
    found, version = models(preset, runtime, int(threads))
    routes = {
        name: model if isinstance(model, str) else functools.partial(work, model)
        for name, model in found.items()
    }
    serve(routes, f"{NAMES[runtime]} {version}")


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    parts = {
        "prepare": prepare,
        "serve": functools.partial(main, by_arrays),
        "serve-files": functools.partial(main, by_files),
    }
    parts[sys.argv[1]](*sys.argv[2:])

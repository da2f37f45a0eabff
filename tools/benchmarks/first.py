"""One process of `benchmark.py load`; prints JSON.

Usage: python -m benchmarks.first prepare PRESET|embedded RUNTIME... [--backbone=NAME]
       python -m benchmarks.first first RUNTIME
       python -m benchmarks.first import MODULE
       python -m benchmarks.first memory PRESET RUNTIME SIZE
       python -m benchmarks.first openvino MODEL.xml SIZE
"""

import importlib
import json
import os
import sys
import time


def prepare(preset, *runtimes):
    """Compiles; a preset with a backbone is made with random weights first."""
    from dolg_zoo import DOLG, ImageConverter
    from dolg_zoo.embedders import constructors
    from dolg_zoo.embedders.compiled import remember_compiled
    from dolg_zoo.presets import resolve_preset
    from dolg_zoo.runtimes.cache import compiled_folder

    if runtimes[-1].startswith("--backbone="):
        *runtimes, backbone = runtimes
        build = constructors.constructor(backbone.partition("=")[2])
        made = build(image_converter=ImageConverter(224))
        for layer in made.net.backbone.layers:
            if layer.name.endswith("_c_bn"):  # a hundred random layers would blow rounding up
                layer.gamma.assign(0.2 * layer.gamma)
        made.save_to_preset(preset)
    resolved = resolve_preset(None if preset == "embedded" else preset)
    model = DOLG.from_preset(resolved)
    for runtime in set(runtimes) - {"keras"}:
        model.compile_for_inference(runtime)
    remember_compiled(model, resolved)
    return {"openvino": str(compiled_folder(model.model_id, "openvino", "float32") / "model.xml")}


def first(runtime):
    """What a script does that embeds one image."""
    begin = time.perf_counter()
    import numpy as np

    if runtime == "keras":
        from dolg_zoo import DOLG
    else:
        from dolg_zoo.embedders.compiled import CompiledDOLG
    imported = time.perf_counter()
    model = DOLG.from_preset() if runtime == "keras" else CompiledDOLG.cached(None, runtime)
    loaded = time.perf_counter()
    image = np.random.default_rng(0).integers(0, 256, (256, 256, 3), "uint8")
    model.embed([image], progress=False, runtime=runtime)
    done = time.perf_counter()  # of one clock in all processes of a Linux
    parts = {"import": imported - begin, "load": loaded - imported, "embed": done - loaded}
    return {"done": done, "parts": parts}


def import_(module):
    begin = time.perf_counter()
    importlib.import_module(module)
    return {"seconds": time.perf_counter() - begin}


def memory(preset, runtime, size):
    if runtime == "keras":
        from dolg_zoo import DOLG

        model = DOLG.from_preset(preset)
    else:
        from dolg_zoo.embedders.compiled import CompiledDOLG

        model = CompiledDOLG.cached(preset, runtime)
    return peak_after(model.infer, size)


def openvino(path, size):
    """The same file without dolg-zoo, set as OpenVINO is by default."""
    import openvino

    core = openvino.Core()
    return peak_after(core.compile_model(path, "CPU"), size)


def peak_after(infer, size):
    import numpy as np

    from benchmarks.common import peak

    infer(np.random.default_rng(0).integers(0, 256, (1, int(size), int(size), 3), "uint8"))
    return {"MiB": round(peak() / 2**20)}


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    parts = {
        "prepare": prepare,
        "first": first,
        "import": import_,
        "memory": memory,
        "openvino": openvino,
    }
    print(json.dumps(parts[sys.argv[1]](*sys.argv[2:])))

"""Makes the templates of an embedded preset's LiteRT files, and pins them in the manifest.

One file computes descriptors, the other what an explanation is computed from. TensorFlow compiles
the preset for LiteRT. Each large constant of the result is one kernel of the preset's weights times
a factor a channel; the template keeps the factors and not the kernels: see
dolg_zoo/runtimes/templates.py. The files that the templates make are compared with Keras.

    python tools/make_runtime_template.py
    python tools/make_runtime_template.py --preset dolg_efficientnet_lite_b0_places_products
"""

import argparse
import hashlib
import json
import tempfile
from pathlib import Path

import h5py
import numpy as np
from _options import OUTPUT
from _pinning import write_entry
from tensorflow.lite.python import schema_py_generated as schema

from dolg_zoo._util.hashing import sha256_of
from dolg_zoo.embedders.dolg import DOLG
from dolg_zoo.explaining.keras_maps import last_layers, maps_model
from dolg_zoo.explaining.without_keras import FORM as MAPS
from dolg_zoo.explaining.without_keras import LiteRTExplainer
from dolg_zoo.presets import DEFAULT_PRESET, resolve_preset
from dolg_zoo.presets.origins import ResolvedPreset
from dolg_zoo.runtimes import litert_runtime
from dolg_zoo.runtimes.compile import check, load
from dolg_zoo.runtimes.servable import servable
from dolg_zoo.runtimes.templates import Template
from dolg_zoo.weights.manifest import WEIGHTS

ROOT = Path(__file__).resolve().parents[1]
FORM = "litert-float32"
SMALL = 16384  # bytes of a constant that the template keeps as it is
TOLERANCE = 2e-6  # of a kernel's largest entry: how far the product may be from the constant


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default=DEFAULT_PRESET, help="an embedded preset, or a folder")
    parser.add_argument(
        *OUTPUT,
        dest="out",
        type=Path,
        help="the folder of the templates; by default that of the embedded preset",
    )
    parser.add_argument("--manifest", type=Path, default=ROOT / "weights_manifest.json")
    arguments = parser.parse_args()

    model = DOLG.from_preset(arguments.preset)
    folder = resolve_preset(arguments.preset).folder
    out = arguments.out or folder
    out.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / WEIGHTS) as weights:
        head = {"last_layers": datasets_of(last_layers(model.net), weights)}
    paths = [
        make(out / f"{FORM}.npz", model, servable(model), folder, {}, distance_of_descriptors),
        make(
            out / f"{MAPS}.npz",
            model,
            maps_model(model.net),
            folder,
            head,
            distance_of_explanations,
        ),
    ]
    if arguments.out is None:
        pin(arguments.manifest, arguments.preset, paths)


def make(path, model, network, folder, more_facts, distance):
    """Write the template of a network's LiteRT file, and compare what it makes with Keras."""
    (name,) = litert_runtime.FILES
    with tempfile.TemporaryDirectory() as scratch:
        litert_runtime.write(network, Path(scratch))
        content = bytearray(Path(scratch, name).read_bytes())
    with h5py.File(folder / WEIGHTS) as weights:
        filled, kernels, factors = split(content, weights)
    record = {
        "runtime": "litert",
        "precision": "float32",
        "image_converter": model.image_converter.to_config(),
        "descriptor_dim": model.descriptor_dim,
        "metadata": model.metadata,
        "model_id": model.model_id,
    }
    facts = {
        "file": {"name": name, "sha256": hashlib.sha256(filled).hexdigest()},
        "kernels": kernels,
        "record": record,
        **more_facts,
    }
    template = Template(path, facts)
    save(path, content, factors, facts)
    record["distance"] = distance(template, model, folder)
    save(path, content, factors, facts)
    print(
        f"Wrote {path}: {path.stat().st_size / 1024:.0f} KiB instead of"
        f" {len(content) / 1024:.0f}; {record['distance']:.1e} from Keras."
    )
    return path


def distance_of_descriptors(template, model, folder):
    """How far descriptors by the file of the template are from those of Keras, at most."""
    with tempfile.TemporaryDirectory() as scratch:
        template.write(Path(scratch), folder / WEIGHTS)
        return check(load(Path(scratch), "litert", "float32"), model.infer, model)


def distance_of_explanations(template, model, folder):
    """How far descriptors put together from their parts are from those of Keras, at most."""
    explainer = LiteRTExplainer(template, ResolvedPreset(model.metadata["preset"], folder))

    def infer(images):
        return np.stack([explainer.decompose(image).descriptor for image in images])

    return check(infer, model.infer, model)


def datasets_of(layers, weights):
    """Return the names of the datasets with the kernel and the bias of each layer."""
    names = []
    for layer in layers.values():
        found = [
            name
            for array in (layer.kernel, layer.bias)
            for name in all_datasets(weights)
            if np.array_equal(weights[name], array)
        ]
        if len(found) != 2:
            raise SystemExit(f"There is no one dataset for each of a layer's weights: {found}.")
        names.append(found)
    return names


def all_datasets(weights):
    """Return the names of the datasets in an h5py file."""
    names = []
    weights.visititems(
        lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
    )
    return names


def split(content, weights):
    """Take the kernels out of a LiteRT file.

    Args:
        content: the bytes of the file; the kernels in it become zeros.
        weights: the h5py file of the weights.

    Returns:
        The bytes of the file with the products of kernels and factors; the facts about each
        kernel; and the factors of each.
    """
    datasets = {name: weights[name][()] for name in all_datasets(weights) if weights[name].ndim > 1}
    filled, kernels, factors = bytearray(content), [], []
    for begin, constant in _constants(bytes(content)):
        found = _product(constant, datasets)
        if found is None:
            raise SystemExit(
                f"The constant of shape {constant.shape} at byte {begin} is no kernel of the"
                f" preset times a factor a channel, and has {constant.nbytes:,} bytes."
            )
        name, axes, factor = found
        values = datasets[name].transpose(axes).astype("<f4") * factor
        kernels.append({"dataset": name, "axes": list(axes), "begin": begin})
        factors.append(factor)
        end = begin + values.nbytes
        filled[begin:end] = values.tobytes()
        content[begin:end] = bytes(values.nbytes)
    return filled, kernels, factors


def _constants(content):
    """Yield where each large constant begins and its values, in its own shape."""
    model = schema.Model.GetRootAs(content, 0)
    base = np.frombuffer(content, np.uint8).__array_interface__["data"][0]
    done = set()
    for number in range(model.SubgraphsLength()):
        graph = model.Subgraphs(number)
        for tensor in map(graph.Tensors, range(graph.TensorsLength())):
            data = model.Buffers(tensor.Buffer()).DataAsNumpy()
            if tensor.Buffer() in done or isinstance(data, int) or data.nbytes <= SMALL:
                continue
            done.add(tensor.Buffer())
            begin = data.__array_interface__["data"][0] - base
            yield begin, data.view("<f4").reshape(tensor.ShapeAsNumpy())


def _product(constant, datasets):
    """Return the dataset, the order of its axes and the factors that a constant is made of."""
    for name, kernel in datasets.items():
        axes = (3, 0, 1, 2) if kernel.ndim == 4 else (1, 0)
        turned = kernel.transpose(axes).astype(np.float64)
        if turned.shape != constant.shape:
            continue
        channel = 3 if turned.shape[0] == 1 and turned.ndim == 4 else 0
        others = tuple(axis for axis in range(turned.ndim) if axis != channel)
        # the factor of least squares
        factor = (constant * turned).sum(others, keepdims=True) / np.maximum(
            (turned**2).sum(others, keepdims=True), 1e-30
        )
        factor = factor.astype("<f4")
        error = np.abs(turned * factor - constant).max(others) / np.abs(constant).max()
        if error.max() <= TOLERANCE:
            return name, axes, factor
    return None


def save(path, content, factors, facts):
    arrays = {f"factors_{number}": factor for number, factor in enumerate(factors)}
    text = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    np.savez_compressed(path, content=np.frombuffer(content, np.uint8), facts=text, **arrays)


def pin(manifest, preset, paths):
    entry = json.loads(manifest.read_text(encoding="utf-8"))["presets"][preset]
    for path in paths:
        entry["files"][path.name] = {"size": path.stat().st_size, "sha256": sha256_of(path)}
    write_entry(manifest, preset, entry, accept_change=True)


if __name__ == "__main__":
    main()

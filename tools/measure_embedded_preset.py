"""Is a preset at least as good as the backbone under it? Leave-one-out mAP, side by side.

Each folder has one subfolder a class; every photograph is searched for among all others.

    python tools/measure_embedded_preset.py PHOTOS/vietnam PHOTOS/instances
"""

import argparse
from pathlib import Path

import keras
import numpy as np

import dolg_zoo
from dolg_zoo.evaluation import leave_one_out
from dolg_zoo.layers import GeneralizedMeanPooling2D
from dolg_zoo.preprocessing import ImageConverter, batch_by_shape, list_images, load_image

SQUASHED = ImageConverter(size=224, interpolation="bicubic")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--preset", help="the embedded one if not given")
    arguments = parser.parse_args()
    model = dolg_zoo.DOLG.from_preset(arguments.preset)
    own = model.image_converter
    rows = {
        "DOLG descriptor": (model, own),
        "DOLG descriptor, no local branch": (without_local_branch(model.net), own),
        "DOLG descriptor, 224×224": (model, SQUASHED),
        "GeM of the backbone": (pooled(model, power=3.0), own),
        "GeM of the backbone, 224×224": (pooled(model, power=3.0), SQUASHED),
        "average of the backbone, 224×224": (pooled(model, power=1.0), SQUASHED),
    }
    print(f"{'leave-one-out mAP':34}" + "".join(f"{f.name:>12}" for f in arguments.folders))
    for row, (network, converter) in rows.items():
        scores = [mean_average_precision(network, converter, f) for f in arguments.folders]
        print(f"{row:34}" + "".join(f"{score:12.4f}" for score in scores), flush=True)


def pooled(model, power):
    """The pooled global map of the model's backbone, after the model's own normalisation."""
    global_map = model.net.get_layer("gem").input
    pool = GeneralizedMeanPooling2D(power, "fixed")
    return keras.Model(model.net.input, pool(global_map))


def without_local_branch(net):
    """The same network, but that all its local descriptors are zero."""
    vector = net.get_layer("global_projection").output
    fused = net.get_layer("orthogonal_fusion")([keras.ops.zeros_like(vector), vector])
    return keras.Model(net.input, net.get_layer("descriptor")(fused))


def mean_average_precision(network, converter, folder):
    images = list_images(folder)
    found = [None] * len(images)
    arrays = ((i, converter(load_image(image))) for i, image in enumerate(images))
    for indices, batch in batch_by_shape(arrays, batch_size=16, max_pending=64):
        for index, descriptor in zip(indices, network.predict_on_batch(batch), strict=True):
            found[index] = descriptor
    labels = [image.parent.name for image in images]
    return leave_one_out(np.stack(found), labels).map


if __name__ == "__main__":
    main()

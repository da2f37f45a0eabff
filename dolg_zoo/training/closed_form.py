"""The head of a DOLG model in closed form, from images without labels and without gradient steps.

1. global projection: PCA of GeM features, each component divided by the fourth root of its variance
   (half whitening);
2. local branch: ridge regression from each local position to its image's normalised global vector;
3. attention: ridge regression to the log norm of the prediction of 2, a measure of information;
4. descriptor: PCA of the concatenated global and orthogonal local vectors, the latter scaled down.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from dolg_zoo._util.arguments import number, whole_number
from dolg_zoo._util.progress import track
from dolg_zoo.embedders.base import BATCH_PIXELS
from dolg_zoo.errors import BadImageError, DataError
from dolg_zoo.preprocessing import ImageSource, batch_by_shape, decode_ahead, load_image
from dolg_zoo.preprocessing.decode import name_of
from dolg_zoo.preprocessing.sources import image_sources
from dolg_zoo.retrieval.unit_rows import unit

if TYPE_CHECKING:
    from dolg_zoo.embedders.dolg import DOLG

BATCH = 16
POSITIONS_PER_IMAGE = 24
RIDGE = 1e-2
"""The penalty of the regressions, as a share of the mean variance of their inputs."""
ATTENTION_SPREAD = 2.0
"""Standard deviation of the attention before softplus."""


def fit_head(
    model: DOLG,
    images: ImageSource | Iterable[ImageSource],
    *,
    local_share: float = 0.2,
    max_images: int = 2000,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, str]:
    """Set the weights of a model's head from images without labels, in closed form.

    The backbone does not change. With a backbone that was trained on ImageNet, the model can search
    without further training, and is a good start for training.

    ```python
    model = dolg_zoo.dolg_efficientnet_b0(
        backbone_weights="imagenet", dilation_rates=(), hidden_dim=512
    )
    dolg_zoo.training.fit_head(model, "photos/")
    model.save_to_preset("my-dolg")
    ```

    Args:
        model: the model. Its weights change.
        images: a folder or images, as for `DOLG.embed`. They should be varied, and at least twice
            as many as the descriptor has dimensions.
        local_share: ratio of the standard deviation of the orthogonal local vector to that of the
            global vector, from 0 (the descriptor is global) to 1.
        max_images: maximum number of images; of more, a random sample is used. All their local maps
            are in memory: 2,000 images of 256×256 pixels with 112 channels take 0.3 GB.
        seed: the seed of all random choices.
        progress: whether to show a progress bar on a terminal if it takes long.

    Returns:
        Name and error of each image that could not be read.

    Raises:
        ValueError: if the architecture has no closed form (see `check_can_fit`), or an argument is
            out of its range.
        DataError: if there are too few images, or they are too much alike.
        OSError: if the folder does not exist or cannot be listed.
    """
    check_can_fit(model)
    number("local_share", local_share, 0, 1)
    whole_number("max_images", max_images, 2)
    sources = image_sources(images)
    if len(sources) > max_images:
        chosen = np.random.default_rng(seed).choice(len(sources), max_images, replace=False)
        sources = [sources[index] for index in np.sort(chosen)]
    check_count(len(sources), model.net.config.hidden_dim)
    pooled, maps, skipped = _features(model, sources, progress)
    dim = model.net.config.hidden_dim
    check_count(len(maps), dim)
    _set_weights(model, pooled, maps, half_whitening(pooled, dim), local_share, seed)
    return skipped


def check_can_fit(model: DOLG) -> None:
    """Raise ValueError unless the head of a model has a closed form."""
    config, channels = model.net.config, model.net.get_layer("gem").output.shape[-1]
    requirements = (
        ("dilation_rates", config.dilation_rates == (), "()"),
        ("attention_channels", config.attention_channels == 1, "1"),
        ("whitened_dim", config.whitened_dim is None, "None"),
        (
            "hidden_dim",
            config.hidden_dim <= channels,
            f"at most {channels}, the channels of the global map",
        ),
        (
            "descriptor_dim",
            config.descriptor_dim <= 2 * config.hidden_dim,
            f"at most twice hidden_dim, {2 * config.hidden_dim}",
        ),
    )
    for name, holds, value in requirements:
        if not holds:
            raise ValueError(
                f"A head in closed form needs {name} = {value}; this model has"
                f" {getattr(config, name)!r}."
            )


def check_count(images: int, dim: int) -> None:
    """Raise DataError if there are too few images for a head with hidden_dim `dim`."""
    if images <= dim:
        raise DataError(
            f"{images} images are too few for a head with hidden_dim = {dim}; give at least"
            f" {dim + 1}, better {2 * dim}, or a smaller hidden_dim (--dim)."
        )


def _features(
    model: DOLG, sources: Iterable[ImageSource], progress: bool
) -> tuple[np.ndarray, list[np.ndarray], dict[str, str]]:
    """Return GeM features (images, channels), local maps (positions, channels), and failures."""
    import keras

    net = model.net
    taps = keras.Model(
        net.input, [net.get_layer("gem").output, net.get_layer("local_branch").input]
    )
    sources = list(sources)
    pooled: dict[int, np.ndarray] = {}
    maps: dict[int, np.ndarray] = {}
    skipped: dict[str, str] = {}

    def arrays() -> Iterator[tuple[int, np.ndarray]]:
        decoded = decode_ahead(
            sources, lambda source: model.image_converter(load_image(source)), ahead=2 * BATCH
        )
        if progress:
            decoded = track(decoded, len(sources), "Fitting")
        for index, source, result in decoded:
            if isinstance(result, BadImageError):
                skipped[name_of(source)] = result.reason
            else:
                yield index, result

    for indices, batch in batch_by_shape(arrays(), BATCH, 4 * BATCH, BATCH_PIXELS):
        for index, vector, local in zip(indices, *taps.predict_on_batch(batch), strict=True):
            pooled[index] = vector.astype(np.float64)
            maps[index] = local.reshape(-1, local.shape[-1])
    order = sorted(pooled)
    vectors = np.stack([pooled[index] for index in order]) if order else np.zeros((0, 1))
    return vectors, [maps[index] for index in order], skipped


def _set_weights(
    model: DOLG,
    pooled: np.ndarray,
    maps: list[np.ndarray],
    projection: tuple[np.ndarray, np.ndarray],
    local_share: float,
    seed: int,
) -> None:
    net = model.net
    dim, descriptor_dim = net.config.hidden_dim, net.config.descriptor_dim
    net.get_layer("global_projection").set_weights(projection)
    global_vectors = np.asarray(net.get_layer("global_projection")(pooled.astype(np.float32)))

    rng = np.random.default_rng(seed)
    samples = [
        positions[rng.choice(len(positions), min(POSITIONS_PER_IMAGE, len(positions)), False)]
        for positions in maps
    ]
    x = np.concatenate(samples).astype(np.float64)
    target = np.repeat(unit(global_vectors, dim), [len(sample) for sample in samples], axis=0)
    kernel, _ = ridge(x, target)
    predicted = x @ kernel
    mean, variance = predicted.mean(axis=0), predicted.var(axis=0)
    branch = net.get_layer("local_branch")
    branch.conv.set_weights([kernel[None, None], *([np.zeros(dim)] if branch.use_bias else [])])
    branch.bn.set_weights([np.ones(dim), np.zeros(dim), mean, variance])

    normalised = (predicted - mean) / np.sqrt(variance)
    positive = np.maximum(normalised, 0)
    attention, _ = ridge(positive, np.log(np.linalg.norm(normalised, axis=1, keepdims=True)))
    attention *= ATTENTION_SPREAD / np.std(positive @ attention)
    branch.attention_conv.set_weights([attention[None, None], -(positive.mean(axis=0) @ attention)])

    # one image at a time: the local maps differ in size, so they form no batch
    local = [np.asarray(branch(positions[None, :, None].astype(np.float32))) for positions in maps]
    fused = net.get_layer("orthogonal_fusion")([np.concatenate(local), global_vectors])
    fused = np.asarray(fused).astype(np.float64)
    scale = np.ones(2 * dim)
    scale[dim:] = local_share * np.sqrt(
        fused[:, :dim].var(axis=0).sum() / fused[:, dim:].var(axis=0).sum()
    )
    centre = fused.mean(axis=0)
    _, axes = principal_axes((fused - centre) * scale)
    kernel = scale[:, None] * axes[:, :descriptor_dim]
    net.get_layer("descriptor").set_weights([kernel, -(centre @ kernel)])


def half_whitening(x: np.ndarray, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Return kernel and bias of a PCA of (images, features), half-whitened."""
    # DataError: the features vary in fewer than `dim` directions
    mean = x.mean(axis=0)
    variances, axes = principal_axes(x - mean)
    varied = int((variances > 1e-9 * max(variances[0], 1e-12)).sum())
    if varied < dim:
        raise DataError(
            f"The features of the {len(x)} images differ in {varied} directions only, and"
            f" hidden_dim is {dim}; give more images of different things, or build the model with a"
            f" hidden_dim of at most {max(varied, 1)}."
        )
    kernel = axes[:, :dim] * variances[:dim] ** -0.25
    return kernel, -(mean @ kernel)


def principal_axes(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return variances, descending, and axes as columns, each with its largest entry positive."""
    variances, axes = np.linalg.eigh(x.T @ x / len(x))
    variances, axes = variances[::-1], axes[:, ::-1]
    return variances, axes * np.sign(axes[np.abs(axes).argmax(axis=0), range(len(axes))])


def ridge(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return kernel and bias of the ridge regression of y on x."""
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    x, y = x - x_mean, y - y_mean
    gram = x.T @ x / len(x)
    penalty = RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    kernel = np.linalg.solve(gram + penalty, x.T @ y / len(x))
    return kernel, y_mean - x_mean @ kernel

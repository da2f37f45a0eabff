"""PCA whitening, learned from images without labels and added to the model."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dolg_zoo._util.arguments import number, whole_number

if TYPE_CHECKING:
    from dolg_zoo.embedders.dolg import DOLG
    from dolg_zoo.preprocessing import ImageSource

ROWS = 2**14  # rows in double precision at a time
AMPLE = 12
"""Images per dimension. With fewer, chance similarities of the images shape the axes.

Measured with 64 dimensions of the embedded preset and mixed photographs: the loss of mAP on
photographs of landmarks is 0.066 with 4 images per dimension, 0.027 with 12 and 0.020 with 25."""

logger = logging.getLogger(__name__)


def whiten(
    model: DOLG,
    images: ImageSource | Iterable[ImageSource],
    dim: int | None = None,
    *,
    power: float = 0.25,
    progress: bool = True,
) -> DOLG:
    """Return a copy of a model with a PCA whitening as its last layer.

    ```python
    whitened = dolg_zoo.retrieval.whiten(model, "photos/", dim=256)
    whitened.save_to_preset("my-dolg")
    ```

    Give many images of many different things. With few images of the same things, the whitening
    treats their differences as noise.

    Args:
        model: the model; it is not changed.
        images: a folder or other images, as `embed` takes them, embedded at scale 1; or
            descriptors of the model, (images, descriptor_dim).
        dim: dimension of the new descriptors; None for the same.
        power: see `pca_whitening`.
        progress: whether to show a progress bar on a terminal if it takes long.

    Raises:
        OSError: if the folder does not exist or cannot be listed.
        ValueError: if there are too few images or they are too similar, a descriptor is not
            normalised or has another dimension, `dim` or `power` is out of range, or the model
            has a whitening already.
    """
    from dolg_zoo.embedders.dolg import DOLG
    from dolg_zoo.models import whitened_net

    source_dim = model.descriptor_dim
    dim = source_dim if dim is None else dim
    check_can_whiten(model, dim, power)
    if isinstance(images, np.ndarray) and images.ndim < 3:
        descriptors = images
    elif isinstance(images, str | Path):
        descriptors = _embedded(model, images, progress)
    else:
        descriptors = model.embed(images, scales=(1.0,), progress=progress)
    if descriptors.ndim != 2 or descriptors.shape[1] != source_dim:
        raise ValueError(
            f"The descriptors must have shape (images, {source_dim}), as the model gives them, not"
            f" {descriptors.shape}."
        )
    kernel, bias = pca_whitening(descriptors, dim, power)
    learned = {"images": len(descriptors), "dim": int(dim), "power": float(power)}
    return DOLG(
        whitened_net(model.net, kernel, bias),
        model.image_converter,
        {**model.metadata_when_changed(), "whitening": learned},
        name=model.name,
    )


def check_can_whiten(model: DOLG, dim: int | None, power: float) -> None:
    """Raise ValueError if `whiten` would refuse the model or the settings."""
    if model.net.config.whitened_dim is not None:
        raise ValueError(
            "The model ends in a whitening already; start from the model without whitening."
        )
    source_dim = model.descriptor_dim
    _check_settings(source_dim if dim is None else dim, source_dim, power)


def pca_whitening(
    descriptors: np.ndarray, dim: int, power: float = 0.25
) -> tuple[np.ndarray, np.ndarray]:
    """Return kernel (features, dim) and bias (dim,) that whiten unit rows: d @ kernel + bias."""
    # Each of the `dim` principal axes is divided by variance^power: 0.5 is full whitening, 0 only
    # rotates; values between are safer with few images per dimension. Source: Jégou and Chum,
    # "Negative evidences and co-occurrences in image retrieval: the benefit of PCA and whitening"
    # (ECCV 2012).
    count, source_dim = descriptors.shape
    _check_settings(dim, source_dim, power)
    if count < dim + 1:
        raise ValueError(
            f"{count} images are too few to learn {dim} dimensions from: give at least {dim + 1},"
            f" better {AMPLE * dim}, or a dim of at most {max(count - 1, 1)}."
        )
    if count < AMPLE * dim:
        logger.warning(
            "%d images are few to learn %d dimensions from: the whitening may be worse on other"
            " images. Give %d or more, and measure the loss with `dolg whiten --check DIR`.",
            count,
            dim,
            AMPLE * dim,
        )
    total = np.zeros(source_dim)
    for start, block in _blocks(descriptors):
        norms = np.linalg.norm(block, axis=1)
        wrong = ~(np.abs(norms - 1) <= 1e-2)  # True for a NaN
        if wrong.any():
            row = np.argmax(wrong)
            raise ValueError(
                f"Descriptor {start + row} has the norm {norms[row]:g}, and must have norm 1, as"
                " `embed` gives it."
            )
        total += block.sum(axis=0)
    mean = total / count
    covariance = np.zeros((source_dim, source_dim))
    for _, block in _blocks(descriptors):
        centred = block - mean
        covariance += centred.T @ centred / (count - 1)
    variances, axes = np.linalg.eigh(covariance)
    variances, axes = variances[::-1], axes[:, ::-1]
    # A smaller variance is rounding noise.
    varied = int((variances > max(1e-12, 1e-9 * variances[0])).sum())
    if varied < dim:
        raise ValueError(
            f"The {count} descriptors differ in {varied} directions only, and {dim} are requested;"
            " give more images of different things"
            + (f", or a dim of at most {varied}." if varied else ".")
        )
    kernel = axes[:, :dim] * variances[:dim] ** -power
    return kernel.astype(np.float32), (-mean @ kernel).astype(np.float32)


def _blocks(descriptors: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, len(descriptors), ROWS):
        yield start, np.asarray(descriptors[start : start + ROWS], np.float64)


def _check_settings(dim: object, most: int, power: object) -> None:
    whole_number("dim", dim, 1, most)
    number("power", power, 0, 1)


def _embedded(model: DOLG, folder: str | Path, progress: bool) -> np.ndarray:
    from dolg_zoo.retrieval.index.index import Index

    index = Index.build(model, folder, scales=(1.0,), progress=progress)
    for name, reason in index.skipped.items():
        logger.warning("skipped: %r (%s)", name, reason)
    return index.descriptors

"""int8: calibrate a runtime's files on images with the runtime's quantiser.

Everything after the convolutions (attention, GeM, fusion, normalisation) stays in float32: int8
saves little time there, and descriptors would not have norm 1.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dolg_zoo.preprocessing import ImageConverter, decode_ahead, load_image
from dolg_zoo.preprocessing.sources import image_sources
from dolg_zoo.runtimes.registry import RUNTIMES

if TYPE_CHECKING:
    import keras

MOST_IMAGES = 128


def calibration_images(converter: ImageConverter, sources: Any) -> list[np.ndarray]:
    """Return up to `MOST_IMAGES` readable, evenly spaced images, each (height, width, 3) uint8."""
    sources = [] if sources is None else image_sources(sources)
    how = "--calibration DIR, or calibration=[…] in Python"
    if not len(sources):
        raise ValueError(f"int8 needs about a hundred images to calibrate with: {how}.")
    rows = np.linspace(0, len(sources) - 1, min(len(sources), MOST_IMAGES)).round().astype(int)
    sample = [sources[row] for row in rows]
    decoded = decode_ahead(sample, lambda source: converter(load_image(source)), ahead=8)
    results = {row: result for row, _, result in decoded}
    images = [results[row] for row in sorted(results)]
    readable = [image for image in images if isinstance(image, np.ndarray)]
    if not readable:
        raise ValueError(
            f"None of the {len(images)} images to calibrate with can be read, the first because:"
            f" {images[0]}. Give others: {how}."
        )
    return readable


def quantize(model: keras.Model, folder: Path, runtime: str, images: Sequence[np.ndarray]) -> None:
    """Turn a runtime's float32 files into int8 ones with images (height, width, 3) uint8."""
    with _nothing_on_stdout():
        RUNTIMES[runtime].code.quantize(model, folder, images)


@contextlib.contextmanager
def _nothing_on_stdout() -> Iterator[None]:
    """Silence standard output, so that quantisers do not write into a command's JSON."""
    level = logging.root.level
    try:
        with (
            open(os.devnull, "w", encoding="utf-8") as nowhere,  # noqa: PTH123
            contextlib.redirect_stdout(nowhere),
        ):
            logging.disable(logging.WARNING)
            yield
    finally:
        logging.disable(logging.NOTSET)
        logging.root.setLevel(level)
        sys.stdout.flush()

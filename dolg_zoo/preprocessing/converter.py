"""The size of an image for the network, and the resampling to that size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from PIL import Image

from dolg_zoo._util.arguments import check_fields, one_of, stated, true_or_false, whole_number
from dolg_zoo.preprocessing.scales import checked_scales

MAX_SIDE = 2**14
"""Maximum side in a configuration, which a stranger may have written: so it cannot need more memory
than the largest image that is decoded."""

MAX_ASPECT = 4
"""Maximum ratio of the sides in mode "short_side". Without it 5000 x 1 pixels at size 224 would
become 1,120,000 x 224."""

_MODES = ("squash", "short_side", "long_side", "max_side", "original")
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class ImageConverter:
    """Resizes RGB images for a network; equal settings give equal arrays on every machine.

    Attributes:
        size: in pixels; its meaning depends on `mode`. A pair is (height, width).
        mode: "squash" gives `size` x `size`, or the pair, whatever the aspect ratio;
            "short_side" and "long_side" resize that side to `size` and keep the aspect ratio
            ("short_side" limits it to 4 : 1); "max_side" shrinks an image whose long side exceeds
            `size` to it, with antialiasing, and keeps the size of others;
            "original" keeps the image size, and `size` must be None.
        multiple_of: both sides are rounded to the nearest positive multiple of this.
        interpolation: "bilinear" or "bicubic".
        antialias: True: the filter widens as an image shrinks (Pillow's `resize`). False: it
            always takes the nearest 2 x 2 (bilinear) or 4 x 4 (bicubic) pixels, with pixel centres
            at one half; bilinear then equals `cv2.resize` of the official code, up to rounding.
        scales: multiples of the size, above 0 and up to 8, at which a model embeds an image by
            default.
        crop_queries: whether the published results use queries cropped to the object's bounding box
            (see `Crop`). It affects evaluation only; the converter does not crop.

    Raises:
        ValueError: a setting has a wrong type or value.
    """

    size: int | tuple[int, int] | None = 224
    mode: str = stated(one_of, known=_MODES, default="squash")
    multiple_of: int = stated(whole_number, least=1, most=MAX_SIDE, default=1)
    interpolation: str = stated(one_of, known=tuple(_FILTERS), default="bilinear")
    antialias: bool = stated(true_or_false, default=True)
    scales: tuple[float, ...] = stated(lambda name, value: checked_scales(value), default=(1.0,))
    crop_queries: bool = stated(true_or_false, default=False)

    def __post_init__(self) -> None:
        """Check every setting."""
        check_fields(self)
        if self.mode == "original":
            if self.size is not None:
                raise ValueError(f"size must be None in mode 'original', not {self.size!r}")
        elif not _is_side(self.size) and not (self.mode == "squash" and _is_pair(self.size)):
            pair = ", or a pair (height, width) of such" if self.mode == "squash" else ""
            raise ValueError(
                f"size must be a whole number from 1 to {MAX_SIDE}{pair} in mode {self.mode!r}, "
                f"not {self.size!r}"
            )

    def scales_or_own(self, scales: Sequence[float] | None) -> tuple[float, ...]:
        """Return the scales, or the scales of the converter if None.

        Raises:
            ValueError: unless there are one to 16 scales, above 0 and up to 8.
        """
        return self.scales if scales is None else checked_scales(scales)

    def target_size(self, width: int, height: int, scale: float = 1.0) -> tuple[int, int]:
        """Return the (width, height) to which an image of `width` x `height` pixels is resized.

        The mode gives the size, `scale` multiplies it, and each side is rounded to the nearest
        pixel and then to the nearest multiple of `multiple_of`.
        """
        if not (math.isfinite(scale) and scale > 0):
            raise ValueError(f"scale must be a positive number, not {scale!r}")
        if width < 1 or height < 1:
            raise ValueError(f"an image of {width} x {height} pixels has no size to start from")
        wide, high = self._unscaled_size(width, height)
        return self._snap(wide * scale), self._snap(high * scale)

    def _unscaled_size(self, width: int, height: int) -> tuple[float, float]:
        if self.size is None:
            return width, height
        if isinstance(self.size, tuple):
            high, wide = self.size
            return wide, high
        if self.mode == "squash":
            return self.size, self.size
        if self._reduces(width, height) or self.mode == "long_side":
            side = max(width, height)
            return width * self.size / side, height * self.size / side
        if self.mode == "max_side":
            return width, height
        side, longest = min(width, height), MAX_ASPECT * self.size
        return min(width * self.size / side, longest), min(height * self.size / side, longest)

    def _reduces(self, width: int, height: int) -> bool:
        """Return whether the mode is "max_side" and the image exceeds it."""
        limit = self.size if isinstance(self.size, int) else 0
        return self.mode == "max_side" and max(width, height) > limit

    def _snap(self, side: float) -> int:
        return max(1, round(round(side) / self.multiple_of)) * self.multiple_of

    def __call__(self, image: Image.Image, scale: float = 1.0) -> np.ndarray:
        """Return the image as uint8 RGB of shape (H, W, 3).

        Args:
            image: an image in mode RGB, as `load_image` returns it.
            scale: multiplies the size that the settings give.

        Raises:
            ValueError: the image is not RGB.
        """
        if image.mode != "RGB":
            raise ValueError(f"the image must be in mode RGB, not {image.mode}; see load_image")
        size = self.target_size(*image.size, scale)
        if size == image.size:
            return np.array(image)
        resampling = _FILTERS[self.interpolation]
        if self.antialias:
            return np.array(image.resize(size, resampling))
        if self._reduces(*image.size):
            # without antialiasing, a photo of many megapixels would become noise
            image = image.resize(self.target_size(*image.size), resampling)
            if size == image.size:
                return np.array(image)
        return _resize_without_antialias(image, size, resampling)

    def to_config(self) -> dict[str, Any]:
        """Return the settings as a dict that JSON can hold."""
        config = asdict(self)
        return {key: list(v) if isinstance(v, tuple) else v for key, v in config.items()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ImageConverter:
        """Return the converter for a dict from `to_config`; missing keys have their defaults.

        Raises:
            ValueError: a key is unknown, or a setting has a wrong type or value.
        """
        if not isinstance(config, Mapping):
            raise ValueError(f"the settings must be a dict, not {config!r}")
        known = [field.name for field in fields(cls)]
        for key in config:
            if key not in known:
                raise ValueError(f"unknown setting {key!r}; there are {', '.join(known)}")
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in config.items()
        }
        return cls(**values)


def _is_side(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_SIDE


def _is_pair(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(map(_is_side, value))


def _resize_without_antialias(
    image: Image.Image, size: tuple[int, int], resampling: Image.Resampling
) -> np.ndarray:
    # In floating point: on 8-bit images `transform` rounds down, half a level too dark.
    matrix = (image.width / size[0], 0, 0, 0, image.height / size[1], 0)
    bands = [
        np.asarray(band.convert("F").transform(size, Image.Transform.AFFINE, matrix, resampling))
        for band in image.split()
    ]
    return np.rint(np.clip(np.stack(bands, axis=-1), 0, 255)).astype(np.uint8)

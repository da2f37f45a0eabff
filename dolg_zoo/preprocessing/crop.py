"""A part of an image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from io import IOBase
from pathlib import Path

import numpy as np
from PIL import Image

from dolg_zoo._util.text import short_repr


@dataclass(frozen=True)
class Crop:
    """The part of an image in a box; accepted wherever an image is.

    ```python
    index.search(Crop("query.jpg", (120, 40, 360, 410)))
    ```

    The protocol of Revisited Oxford and Paris crops queries to the landmark like this.

    Attributes:
        source: an image in any other form that `load_image` takes.
        box: (x1, y1, x2, y2) in pixels of the upright image, each truncated to a whole number; it
            is clipped to the image.

    Raises:
        ValueError: the box is not four finite numbers with x1 < x2 and y1 < y2, or the source is
            a Crop itself.
    """

    source: str | Path | bytes | bytearray | memoryview | IOBase | Image.Image | np.ndarray
    box: tuple[float, float, float, float]

    def __post_init__(self) -> None:
        """Check both."""
        if isinstance(self.source, Crop):
            raise ValueError("a Crop of a Crop is not supported; give one box of the image itself")
        try:
            x1, y1, x2, y2 = map(float, self.box)
        except (TypeError, ValueError, OverflowError):
            x1 = math.nan
        if not (math.isfinite(x1) and x1 < x2 < math.inf and -math.inf < y1 < y2 < math.inf):
            raise ValueError(
                "box must be four numbers (x1, y1, x2, y2), x1 < x2, y1 < y2, not"
                f" {short_repr(self.box)}"
            )

    def cut(self, image: Image.Image) -> Image.Image:
        """Return the part of the loaded image that lies in the box.

        Raises:
            ValueError: the box contains no pixel of the image.
        """
        x1, y1, x2, y2 = map(int, self.box)
        x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, image.width), min(y2, image.height)
        if x1 >= x2 or y1 >= y2:
            raise ValueError(
                f"box {self.box!r} holds no pixel of an image of {image.width} x {image.height}"
            )
        return image.crop((x1, y1, x2, y2))

"""One photograph of an explanation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Side:
    """A photograph of an explanation; parts of the score are None without a second one."""

    name: str  # the file name, or a description
    image: Image.Image  # the image, or the given box of it
    attention: np.ndarray  # (height, width) of the local feature map, at least 0
    global_part: float | None = None  # the global branch's part of the score
    places: np.ndarray | None = None  # (height, width), each local position's part of the score

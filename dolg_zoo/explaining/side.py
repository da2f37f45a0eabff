"""One photograph of an explanation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Side:
    """A photograph of an explanation.

    Attributes:
        name: the file name, or a description.
        image: the image, or the part of it that was given.
        attention: (height, width) of the local feature map: the weight of each position, at least
            0.
        global_part: the contribution of the global branch to the score; None without another
            photograph.
        places: (height, width), the contribution of each position of the local feature map to the
            score; None without another photograph.
    """

    name: str
    image: Image.Image
    attention: np.ndarray
    global_part: float | None = None
    places: np.ndarray | None = None

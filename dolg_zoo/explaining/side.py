"""One photograph of an explanation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Side:
    """A photograph of an explanation.

    Attributes:
        name: to call it by.
        image: as it is on the disk, or the part of it that was asked for.
        attention: (height, width) of the local map: the weight of each place, 0 or more.
        global_part: what the global branch adds to the score; None without another photograph.
        places: (height, width), what each place of the local map adds to the score, for the match
            where it is above 0 and against it below; None without another photograph.
    """

    name: str
    image: Image.Image
    attention: np.ndarray
    global_part: float | None = None
    places: np.ndarray | None = None

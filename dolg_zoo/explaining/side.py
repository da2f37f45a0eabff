"""One photograph of an explanation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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

    def to_dict(self) -> dict[str, Any]:
        """Return the photograph's name and figures, for JSON."""
        document = {"image": self.name, "attention": self.attention.tolist()}
        if self.places is not None:
            document |= {"global": self.global_part, "places": self.places.tolist()}
        return document

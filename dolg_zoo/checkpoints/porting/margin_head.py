"""The head that a network was trained under, as data: a layer's name, its settings, its arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dolg_zoo.checkpoints.porting.torch_layout import holds_floats
from dolg_zoo.errors import PortingError


@dataclass(frozen=True)
class MarginHead:
    """What `dolg_zoo.layers.<layer>` is made of.

    Attributes:
        layer: "CurricularFace", "ArcFace", "SubCenterArcFace" or "CosineSoftmax".
        scale: the factor on the cosines.
        margin: the margin on the target's angle, in radians; 0 for CosineSoftmax.
        arrays: the layer's variables by name: `centers`, (classes, dim); for CurricularFace also
            `t`, (); for SubCenterArcFace `centers`, (classes, centers per class, dim), and
            `margins`, (classes,).
    """

    layer: str
    scale: float
    margin: float
    arrays: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        """Check that the arrays hold real numbers; a PortingError if not."""
        for name, array in self.arrays.items():
            if not holds_floats(array):
                raise PortingError(
                    f"The margin head's {name} must hold real numbers, not {array.dtype}."
                )

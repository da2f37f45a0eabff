"""The heads that descriptors are trained under, by the names that configurations give them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from dolg_zoo.layers.arc_face import ArcFace
from dolg_zoo.layers.cosine import CosineSoftmax
from dolg_zoo.layers.curricular_face import CurricularFace
from dolg_zoo.layers.sub_center_arc_face import SubCenterArcFace

MARGIN_HEADS: Mapping[str, type[Any]] = MappingProxyType(
    {
        "arcface": ArcFace,
        "subcenter_arcface": SubCenterArcFace,
        "curricularface": CurricularFace,
        "cosine": CosineSoftmax,
    }
)

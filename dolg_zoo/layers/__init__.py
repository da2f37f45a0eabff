"""The Keras layers of DOLG, and the margin heads for its training."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from dolg_zoo.layers.arc_face import ArcFace
from dolg_zoo.layers.cosine import CosineSoftmax
from dolg_zoo.layers.curricular_face import CurricularFace
from dolg_zoo.layers.gem import GeneralizedMeanPooling2D
from dolg_zoo.layers.local_branch import DOLGLocalBranch
from dolg_zoo.layers.multi_atrous import MultiAtrous
from dolg_zoo.layers.orthogonal_fusion import OrthogonalFusion
from dolg_zoo.layers.sub_center_arc_face import SubCenterArcFace, dynamic_margins

__all__ = [
    "MARGIN_HEADS",
    "ArcFace",
    "CosineSoftmax",
    "CurricularFace",
    "DOLGLocalBranch",
    "GeneralizedMeanPooling2D",
    "MultiAtrous",
    "OrthogonalFusion",
    "SubCenterArcFace",
    "dynamic_margins",
]

MARGIN_HEADS: Mapping[str, type[Any]] = MappingProxyType(
    {
        "arcface": ArcFace,
        "subcenter_arcface": SubCenterArcFace,
        "curricularface": CurricularFace,
        "cosine": CosineSoftmax,
    }
)
"""The heads for training, by their names in configurations."""

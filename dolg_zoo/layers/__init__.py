"""The Keras layers that DOLG is made of, one idea a file."""

from dolg_zoo.layers.gem import GeneralizedMeanPooling2D
from dolg_zoo.layers.local_branch import DOLGLocalBranch
from dolg_zoo.layers.multi_atrous import MultiAtrous
from dolg_zoo.layers.orthogonal_fusion import OrthogonalFusion

__all__ = [
    "DOLGLocalBranch",
    "GeneralizedMeanPooling2D",
    "MultiAtrous",
    "OrthogonalFusion",
]

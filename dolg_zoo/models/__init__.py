"""The network: image tensor in, descriptor out; and what it is trained as."""

from dolg_zoo.models.dolg_config import DOLGConfig
from dolg_zoo.models.dolg_net import DOLGNet
from dolg_zoo.models.loaded import normalize_by_what_was_loaded
from dolg_zoo.models.margin_classifier import MarginClassifier
from dolg_zoo.models.whitened import whitened_net

__all__ = [
    "DOLGConfig",
    "DOLGNet",
    "MarginClassifier",
    "normalize_by_what_was_loaded",
    "whitened_net",
]

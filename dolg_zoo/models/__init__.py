"""The network: image tensor in, descriptor out; and what it is trained as."""

from dolg_zoo.models.dolg_config import DOLGConfig
from dolg_zoo.models.dolg_net import DOLGNet
from dolg_zoo.models.margin_classifier import MarginClassifier

__all__ = ["DOLGConfig", "DOLGNet", "MarginClassifier"]

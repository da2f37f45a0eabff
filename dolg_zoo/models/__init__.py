"""The network: image tensor in, descriptor out."""

from dolg_zoo.models.dolg_config import DOLGConfig
from dolg_zoo.models.dolg_net import DOLGNet

__all__ = ["DOLGConfig", "DOLGNet"]

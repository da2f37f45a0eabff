from .dolg_config import DOLGConfig
from .dolg_net import DOLGNet
from .margin_classifier import MarginClassifier
from .whitened import finalize_normalization, whitened_net

__all__ = [
    "DOLGConfig",
    "DOLGNet",
    "MarginClassifier",
    "finalize_normalization",
    "whitened_net",
]

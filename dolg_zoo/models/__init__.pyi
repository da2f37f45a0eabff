from .dolg_config import DOLGConfig
from .dolg_net import DOLGNet
from .margin_classifier import MarginClassifier
from .whitened import normalize_by_what_was_loaded, whitened_net

__all__ = [
    "DOLGConfig",
    "DOLGNet",
    "MarginClassifier",
    "normalize_by_what_was_loaded",
    "whitened_net",
]

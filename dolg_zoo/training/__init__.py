"""Fine-tuning and training of DOLG models."""

from dolg_zoo.drawing.curves import draw_curves
from dolg_zoo.errors import DataError, DivergedError, TrainingConfigError, WorkerLostError
from dolg_zoo.training.config import TrainingConfig
from dolg_zoo.training.plan import plan
from dolg_zoo.training.train import TrainingResult, train

__all__ = [
    "DataError",
    "DivergedError",
    "TrainingConfig",
    "TrainingConfigError",
    "TrainingResult",
    "WorkerLostError",
    "draw_curves",
    "plan",
    "train",
]

from .closed_form import fit_head
from .config import TrainingConfig, TrainingConfigError
from .data import DataError
from .distribution import WorkerLostError
from .loop import DivergedError
from .planning import plan
from .run import TrainingResult, draw_curves, train

__all__ = [
    "DataError",
    "DivergedError",
    "TrainingConfig",
    "TrainingConfigError",
    "TrainingResult",
    "WorkerLostError",
    "draw_curves",
    "fit_head",
    "plan",
    "train",
]

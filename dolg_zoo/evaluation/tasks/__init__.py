"""The benchmarks from files to figures; each checks its files before it embeds an image."""

from dolg_zoo.evaluation.tasks.folder import ClassFolder
from dolg_zoo.evaluation.tasks.landmark_recognition import Recognition, score_recognition
from dolg_zoo.evaluation.tasks.landmark_retrieval import Retrieval, score_retrieval
from dolg_zoo.evaluation.tasks.revisited import Revisited

__all__ = [
    "ClassFolder",
    "Recognition",
    "Retrieval",
    "Revisited",
    "score_recognition",
    "score_retrieval",
]

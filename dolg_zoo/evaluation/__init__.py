"""Evaluation of rankings: the field's benchmarks, and scores of a folder or a gallery."""

from dolg_zoo.errors import GroundTruthError
from dolg_zoo.evaluation.class_folder import ClassFolder
from dolg_zoo.evaluation.gldv2.scores import mean_average_precision_at, micro_average_precision
from dolg_zoo.evaluation.gldv2.tasks import (
    Recognition,
    Retrieval,
    score_recognition,
    score_retrieval,
)
from dolg_zoo.evaluation.metrics import (
    RetrievalScores,
    average_precision,
    leave_one_out,
    query_gallery,
)
from dolg_zoo.evaluation.report import Report
from dolg_zoo.evaluation.revisited.ground_truth import GroundTruth, read_ground_truth
from dolg_zoo.evaluation.revisited.scores import RevisitedScores, revisited_scores
from dolg_zoo.evaluation.revisited.task import Revisited

__all__ = [
    "ClassFolder",
    "GroundTruth",
    "GroundTruthError",
    "Recognition",
    "Report",
    "Retrieval",
    "RetrievalScores",
    "Revisited",
    "RevisitedScores",
    "average_precision",
    "leave_one_out",
    "mean_average_precision_at",
    "micro_average_precision",
    "query_gallery",
    "read_ground_truth",
    "revisited_scores",
    "score_recognition",
    "score_retrieval",
]

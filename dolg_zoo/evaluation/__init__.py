"""How good a ranking is: average precision and recall, over a folder or a gallery."""

from dolg_zoo.evaluation.metrics import (
    RetrievalScores,
    average_precision,
    leave_one_out,
    query_gallery,
)

__all__ = ["RetrievalScores", "average_precision", "leave_one_out", "query_gallery"]

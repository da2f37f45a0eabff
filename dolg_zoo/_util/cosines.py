"""Cosines of float32 descriptors, which rounding may put above 1 or below a threshold."""

import numpy as np

ROUNDING = 16 * float(np.finfo(np.float32).eps)
"""Three times the rounding error of sums over up to 2048 dimensions; different photographs differ
by more."""


def reaches(cosines: np.ndarray, threshold: float) -> np.ndarray:
    """Return whether each cosine is at least the threshold, up to rounding."""
    return cosines >= np.float32(threshold - ROUNDING)


def cosine(score: float) -> float:
    """Return a cosine, clipped to [-1, 1]."""
    return min(max(float(score), -1.0), 1.0)

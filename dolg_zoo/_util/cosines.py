"""Cosines of descriptors in float32, which rounding takes past 1 and below a threshold."""

import numpy as np

ROUNDING = 16 * float(np.finfo(np.float32).eps)
"""2e-6: three times what sums over up to 2048 dimensions are off by; a photograph that is another
is farther away."""


def reaches(cosines: np.ndarray, threshold: float) -> np.ndarray:
    """Whether each cosine is the threshold or more, but for rounding."""
    return cosines >= np.float32(threshold - ROUNDING)


def cosine(score: float) -> float:
    """Return a cosine without what rounding has put beyond 1 or -1."""
    return min(max(float(score), -1.0), 1.0)

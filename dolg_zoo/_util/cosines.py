"""Cosines of descriptors in float32, which rounding takes past 1 and below a threshold."""

import numpy as np

ROUNDING = 16 * float(np.finfo(np.float32).eps)
"""2e-6: three times what sums over up to 2048 dimensions are off by; a photograph that is another
is farther away."""


def reaches(cosines: np.ndarray, threshold: float) -> np.ndarray:
    """Return whether each cosine is at least the threshold, up to rounding."""
    return cosines >= np.float32(threshold - ROUNDING)


def cosine(score: float) -> float:
    """Return a cosine clipped to [-1, 1], against rounding."""
    return min(max(float(score), -1.0), 1.0)

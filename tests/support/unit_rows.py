"""Descriptors of norm 1."""

import numpy as np


def unit(vectors):
    """The vectors, (..., dim), with norm 1 in float32."""
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def unit_rows(rng, rows, dim):
    """Random ones: (rows, dim)."""
    return unit(rng.standard_normal((rows, dim)))

"""Bounds on differences of floats that hold on every processor, and why.

Another instruction set adds up in another order, and fuses products and sums or does not.
"""

import numpy as np
from numpy.typing import ArrayLike

U = 2**-24
"""The relative error of one operation in float32."""


def relative_error(found: ArrayLike, expected: ArrayLike) -> np.ndarray:
    """Return the norm of the difference, as a part of the expected norm, for each row."""
    ours, theirs = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    return np.linalg.norm(ours - theirs, axis=-1) / np.linalg.norm(theirs, axis=-1)


def cosine_error(terms: int) -> float:
    """Return the most by which the cosine of two float32 vectors is off, on any processor.

    A sum of `terms` products is off by `terms` U. The inverse of a norm is off by half of its sum's
    error, and by that of an approximate root: one of 12 bits (1.5 · 2^-12) is off by 3.4 U after a
    step of Newton's, and by 2 U from its roundings. Two such norms, the sum of the dot product and
    three products are 2 `terms` + 14 U. The rest is room for `--rounding`, which moves the two
    sums, the two roots and the dot product by 4 U each.
    """
    return (2 * terms + 32) * U


# Cosines of L2-normalised float32 rows, and means of them. The products of a row add up to at most
# 1, so a sum of up to 2,048 of them is off by some 3e-7 in any order, whatever is fused. The
# inverse of each norm is off by as much, and `--rounding` moves each of the five by 2.4e-7.
COSINE = 4e-6

# Sums in float64 of up to a thousand terms near 1: each step is off by 1.1e-16 of the sum so far.
FLOAT64 = 1e-12

# Elements of L2-normalised float32 descriptors, and cosines of them, where one network takes one
# image in two ways: alone and in a batch, as a graph, compiled, in another runtime. A layer's sum
# is off by some 1e-7 of its terms, and the tens of layers of the tests' networks make that 1e-6 at
# most. Another weight or pixel shows at 1e-3.
DESCRIPTOR = 1e-5

# The same of the presets that ship, which have some 50 layers.
DEEP_DESCRIPTOR = 5e-5

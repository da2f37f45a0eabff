"""Bounds on differences of floats that hold on every processor, and why.

Another instruction set adds up in another order, and fuses products and sums or does not.
"""

# Cosines of L2-normalised float32 rows, and means of them. The products of a row add up to at most
# 1, so a sum of up to 2,048 of them is off by less than 3e-7 in any order, whatever is fused.
COSINE = 1e-6

# Sums in float64 of up to a thousand terms near 1: each step is off by 1.1e-16 of the sum so far.
FLOAT64 = 1e-12

# Elements of L2-normalised float32 descriptors, and cosines of them, where one network takes one
# image in two ways: alone and in a batch, as a graph, compiled, in another runtime. A layer's sum
# is off by some 1e-7 of its terms, and the tens of layers of the tests' networks make that 1e-6 at
# most. Another weight or pixel shows at 1e-3.
DESCRIPTOR = 1e-5

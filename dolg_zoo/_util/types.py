"""Types that several modules name."""

from typing import Any

Tensor = Any  # Keras has no type for both the symbolic tensors and the arrays that a layer takes
Shape = tuple[int | None, ...]  # None where a size is unknown

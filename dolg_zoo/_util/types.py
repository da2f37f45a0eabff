"""Types that several modules name."""

from typing import Any

Tensor = Any  # Keras has no common type for symbolic tensors and arrays
Shape = tuple[int | None, ...]  # None where a size is unknown

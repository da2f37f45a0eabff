"""The former home of `small_model`."""

from small_model import small_model

__all__ = ["small_model"]

"""Explain why two photographs match, by the attention and the contribution of each position."""

from dolg_zoo.explaining.explanation import Explains, Explanation, explain

__all__ = ["Explains", "Explanation", "explain"]

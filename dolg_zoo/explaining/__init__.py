"""Why two photographs match: the local branch's attention, and what each place adds to a score."""

from dolg_zoo.explaining.explanation import Explanation, explain

__all__ = ["Explanation", "explain"]

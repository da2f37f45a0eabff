"""Why two photographs match: the local branch's attention, and what each position adds."""

from dolg_zoo.explaining.explanation import Explanation, explain

__all__ = ["Explanation", "explain"]

"""Why two photographs match: the local branch's attention, and what each position adds."""

from dolg_zoo.explaining.explanation import Explains, Explanation, explain

__all__ = ["Explains", "Explanation", "explain"]

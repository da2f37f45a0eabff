"""How much memory Python's objects take while something runs."""

import tracemalloc
from collections.abc import Callable


def peak_bytes(call: Callable[[], object]) -> int:
    """The most bytes that were allocated at once during a call, by this or any other thread.

    Another thread may allocate some of its own, or a module be imported, so a bound is to be
    tried again before a test fails by it.
    """
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

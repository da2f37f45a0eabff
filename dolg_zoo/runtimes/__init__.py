"""What computes descriptors: Keras, or a runtime that its network was compiled for."""

from dolg_zoo.errors import CompilationError, RuntimeMissingError
from dolg_zoo.runtimes.registry import (
    PRECISIONS,
    RUNTIMES,
    check_route,
    default_runtime,
    fault_of,
    why_default,
)

__all__ = [
    "PRECISIONS",
    "RUNTIMES",
    "CompilationError",
    "RuntimeMissingError",
    "check_route",
    "default_runtime",
    "fault_of",
    "why_default",
]

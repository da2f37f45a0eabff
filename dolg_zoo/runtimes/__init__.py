"""The runtimes that compute descriptors: Keras, OpenVINO, ONNX Runtime and LiteRT."""

from dolg_zoo.errors import CompilationError, RuntimeMissingError
from dolg_zoo.runtimes.choice import check_route, default_runtime, routes, untimed, why_default
from dolg_zoo.runtimes.registry import PRECISIONS, RUNTIMES, fault_of

__all__ = [
    "PRECISIONS",
    "RUNTIMES",
    "CompilationError",
    "RuntimeMissingError",
    "check_route",
    "default_runtime",
    "fault_of",
    "routes",
    "untimed",
    "why_default",
]

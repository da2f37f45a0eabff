"""Which runtimes there are, which of them are here, and which one is taken."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

from dolg_zoo.errors import RuntimeMissingError
from dolg_zoo.runtimes.cpu import cpu_name, has_gpu
from dolg_zoo.runtimes.telemetry import import_openvino

PRECISIONS = ("float32", "bfloat16", "int8")
RUNTIME_VARIABLE = "DOLG_ZOO_RUNTIME"


@dataclass(frozen=True)
class Runtime:
    """Something that computes descriptors.

    Attributes:
        name: what a user calls it; the extra that installs it has this name too.
        package: the distribution that it needs.
        module: the module of it that is imported.
        precisions: those that it has, on a processor that has them.
        converters: modules that are needed besides to make its files.
        quantizers: modules that are needed besides to make those in int8.
    """

    name: str
    package: str
    module: str
    precisions: tuple[str, ...]
    converters: tuple[str, ...] = ()
    quantizers: tuple[str, ...] = ()

    @property
    def version(self) -> str | None:
        """The version that is installed; None if none is."""
        try:
            return version(self.package)
        except PackageNotFoundError:
            return None


RUNTIMES = {
    runtime.name: runtime
    for runtime in (
        Runtime("openvino", "openvino", "openvino", PRECISIONS, quantizers=("nncf",)),
        Runtime("onnx", "onnxruntime", "onnxruntime", ("float32", "int8"), ("onnx", "tf2onnx")),
        Runtime("litert", "ai-edge-litert", "ai_edge_litert", ("float32", "int8")),
        Runtime("keras", "keras", "keras", ("float32",)),
    )
}

ORDER = {
    "float32": ("litert", "openvino", "onnx", "keras"),
    "bfloat16": ("openvino",),
    "int8": ("openvino", "onnx", "litert"),
}
"""Where nothing was measured, the first that can be used is taken: the fastest of DOLG-R50 and of
the embedded preset in docs/benchmarks/inference.json."""


def fault_of(runtime: str, precision: str = "float32") -> str | None:
    """Why a runtime cannot be used here, with what to do about it; None if it can.

    Raises:
        ValueError: if there is no such runtime or precision.
    """
    if runtime not in RUNTIMES:
        raise ValueError(f"runtime must be one of {', '.join(RUNTIMES)}, not {runtime!r}.")
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}.")
    known = RUNTIMES[runtime]
    needed = (known.module, *known.converters)
    for module in needed + (known.quantizers if precision == "int8" else ()):
        if find_spec(module) is None:
            return f"{module} is not installed: pip install 'dolg-zoo[{runtime}]'"
    if precision not in known.precisions:
        able = [name for name, other in RUNTIMES.items() if precision in other.precisions]
        return f"it does not compute in {precision}; {' or '.join(able)} would"
    if precision == "bfloat16" and not _has_bfloat16():
        return (
            f"this processor ({cpu_name()}) does not compute in bfloat16: it has neither"
            " avx512_bf16 nor amx_bf16"
        )
    return None


def check_route(runtime: str | None = None, precision: str = "float32") -> str:
    """The runtime that is named, or the default, if it can be used here in a precision.

    Raises:
        RuntimeMissingError: says what to install, or what the processor lacks.
        ValueError: if there is no such runtime or precision.
    """
    runtime = runtime or default_runtime(precision)
    if fault := fault_of(runtime, precision):
        raise RuntimeMissingError(f"The runtime {runtime!r} cannot be used: {fault}.")
    return runtime


def default_runtime(precision: str = "float32") -> str:
    """What computes if no runtime is named: see `why_default`."""
    return why_default(precision)[0]


def why_default(precision: str = "float32") -> tuple[str, str]:
    """What computes if no runtime is named, and why.

    That is $DOLG_ZOO_RUNTIME; without it, Keras beside a GPU, since the others compute on the
    processor; else the fastest, if it was measured here; else the first of `ORDER` that can be
    used here.

    Raises:
        ValueError: if $DOLG_ZOO_RUNTIME is no runtime, or there is no such precision.
        RuntimeMissingError: if nothing that is installed computes in that precision.
    """
    from dolg_zoo.runtimes.measured import remembered_speeds

    if own := os.environ.get(RUNTIME_VARIABLE):
        if own not in RUNTIMES:
            raise ValueError(
                f"{RUNTIME_VARIABLE} must be one of {', '.join(RUNTIMES)}, not {own!r}."
            )
        return own, f"{RUNTIME_VARIABLE} says so"
    if precision == "float32" and has_gpu():
        return "keras", "it uses the GPU that is here"
    faults = {name: fault_of(name, precision) for name in ORDER.get(precision, RUNTIMES)}
    usable = [name for name, fault in faults.items() if fault is None]
    speeds = remembered_speeds() if precision == "float32" else {}
    for name, speed in speeds.items():
        if name in usable:
            return name, f"it was the fastest here when measured, {speed:.3g} images a second"
    if usable:
        return usable[0], (
            f"it is the first of {', '.join(faults)} that can be used here"
            + ("; --measure finds the fastest" if len(usable) > 2 else "")
        )
    raise RuntimeMissingError(
        f"Nothing here computes in {precision}: "
        + "; ".join(f"{name}: {fault}" for name, fault in faults.items())
        + "."
    )


def describe_runtimes() -> list[dict[str, Any]]:
    """Each runtime's name and version, and for each precision that it has what keeps it from it."""
    return [
        {
            "name": name,
            "version": runtime.version,
            "precisions": {
                precision: fault_of(name, precision) for precision in runtime.precisions
            },
        }
        for name, runtime in RUNTIMES.items()
    ]


def _has_bfloat16() -> bool:
    return "BF16" in import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")

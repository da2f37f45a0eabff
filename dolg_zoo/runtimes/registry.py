"""The runtimes, and their availability on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

from dolg_zoo._util.modules import is_installed
from dolg_zoo.runtimes.cpu import cpu_name
from dolg_zoo.runtimes.telemetry import import_openvino

PRECISIONS = ("float32", "bfloat16", "int8")


@dataclass(frozen=True)
class Runtime:
    """A runtime that computes descriptors; except for Keras, `<name>_runtime.py` has its code."""

    name: str  # for users, and of the extra that installs it
    package: str  # the distribution
    module: str
    # its precisions, if the processor has them, each with its rank among untimed runtimes: by speed
    # with DOLG-R50 and the embedded preset in docs/benchmarks/inference_avx2.json
    precisions: Mapping[str, int]
    converters: tuple[str, ...] = ()  # other modules that its conversion needs
    quantizers: tuple[str, ...] = ()  # other modules that its quantisation needs
    is_extra: bool = True  # whether a default installation lacks it
    exports_one_size: bool = False  # whether an export takes images of one size only

    @cached_property  # a command uses it about ten times
    def version(self) -> str | None:
        """The installed version, or None."""
        try:
            return version(self.package)
        except PackageNotFoundError:
            return None

    @property
    def code(self) -> ModuleType:
        """The module of the runtime.

        It has `FILES`, `write` and `load`; `quantize` if it computes in int8; and `write_text` and
        `read_text` if its files can hold a text; else an export also has a JSON file.
        """
        return import_module(f"dolg_zoo.runtimes.{self.name}_runtime")


RUNTIMES = {
    runtime.name: runtime
    for runtime in (
        Runtime(
            name="openvino",
            package="openvino",
            module="openvino",
            precisions={"float32": 2, "bfloat16": 1, "int8": 1},
            quantizers=("nncf",),
        ),
        Runtime(
            name="onnx",
            package="onnxruntime",
            module="onnxruntime",
            precisions={"float32": 3, "int8": 2},
            converters=("onnx", "tf2onnx"),
        ),
        Runtime(
            name="litert",
            package="ai-edge-litert",
            module="ai_edge_litert",
            precisions={"float32": 1, "int8": 3},
            is_extra=False,
            exports_one_size=True,
        ),
        Runtime("keras", "keras", "keras", {"float32": 4}, is_extra=False),
    )
}


def fault_of(runtime: str, precision: str = "float32") -> str | None:
    """Return why a runtime cannot be used here, and a remedy; None if it can.

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
        if not is_installed(module):
            package = f"'dolg-zoo[{runtime}]'" if known.is_extra else known.package
            return f"{module} is not installed: pip install {package}"
    if precision not in known.precisions:
        return f"it does not compute in {precision}; {' or '.join(in_order(precision))} would"
    if precision == "bfloat16" and not has_bfloat16():
        return (
            f"this processor ({cpu_name()}) does not compute in bfloat16: it has neither"
            " avx512_bf16 nor amx_bf16"
        )
    return None


def in_order(precision: str) -> list[str]:
    """Return the runtimes for a precision, installed or not, the best first."""
    names = [name for name, runtime in RUNTIMES.items() if precision in runtime.precisions]
    return sorted(names, key=lambda name: RUNTIMES[name].precisions[precision])


def describe_runtimes() -> list[dict[str, Any]]:
    """Return each runtime's name and version, and the obstacle to each of its precisions."""
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


def has_bfloat16() -> bool:
    """Return whether OpenVINO computes in bfloat16 on this processor."""
    return "BF16" in import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")

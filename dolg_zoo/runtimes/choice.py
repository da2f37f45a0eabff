"""The choice of the runtime if the user names none."""

from __future__ import annotations

import os

from dolg_zoo.errors import RuntimeMissingError
from dolg_zoo.runtimes.cpu import has_gpu
from dolg_zoo.runtimes.measured import can_remember, remembered_speeds
from dolg_zoo.runtimes.registry import RUNTIMES, fault_of, in_order

RUNTIME_VARIABLE = "DOLG_ZOO_RUNTIME"


def check_route(runtime: str | None = None, precision: str = "float32") -> str:
    """Return the named runtime, or the default, if this machine has it in a precision.

    Raises:
        RuntimeMissingError: if not; the message names the package to install, or what the
            processor lacks.
        ValueError: if there is no such runtime or precision.
    """
    runtime = runtime or default_runtime(precision)
    if fault := fault_of(runtime, precision):
        raise RuntimeMissingError(f"The runtime {runtime!r} cannot be used: {fault}.")
    return runtime


def default_runtime(precision: str = "float32", model_id: str | None = None) -> str:
    """Return the default runtime: see `why_default`."""
    return why_default(precision, model_id)[0]


def routes(
    runtime: str | None = None, precision: str = "float32", model_id: str | None = None
) -> list[str]:
    """Return the named runtime or, if none is named, the default and its alternatives.

    Raises:
        RuntimeMissingError: as in `check_route`.
        ValueError: as in `check_route`.
    """
    first = check_route(runtime or default_runtime(precision, model_id), precision)
    if runtime is not None or os.environ.get(RUNTIME_VARIABLE) or first == "keras":
        return [first]
    return [first] + [
        name for name in in_order(precision) if name != first and fault_of(name, precision) is None
    ]


def untimed(
    runtime: str | None = None, precision: str = "float32", model_id: str | None = None
) -> list[str]:
    """Return the runtimes to time before one of them becomes the default for a model.

    They exclude Keras: importing it takes longer than embedding a hundred images.

    Returns:
        Their names; empty if there is no choice, or they were timed before.
    """
    names = [name for name in routes(runtime, precision, model_id) if name != "keras"]
    if precision != "float32" or len(names) < 2 or remembered_speeds(model_id):
        return []
    return names if can_remember() else []


def why_default(precision: str = "float32", model_id: str | None = None) -> tuple[str, str]:
    """Return the default runtime, and the reason.

    The default is $DOLG_ZOO_RUNTIME; without it, Keras on a machine with a GPU, since the other
    runtimes use the processor; else the fastest for the model, if they were timed here; else the
    first usable runtime of `in_order(precision)`.

    Args:
        precision: "float32", "bfloat16" or "int8".
        model_id: the model to compute; None for any.

    Raises:
        ValueError: if $DOLG_ZOO_RUNTIME is no runtime, or there is no such precision.
        RuntimeMissingError: if no installed runtime computes in that precision.
    """
    if own := os.environ.get(RUNTIME_VARIABLE):
        if own not in RUNTIMES:
            raise ValueError(
                f"{RUNTIME_VARIABLE} must be one of {', '.join(RUNTIMES)}, not {own!r}."
            )
        return own, f"{RUNTIME_VARIABLE} says so"
    if precision == "float32" and has_gpu():
        return "keras", "it uses the GPU of this machine"
    faults = {name: fault_of(name, precision) for name in in_order(precision) or RUNTIMES}
    usable = [name for name, fault in faults.items() if fault is None]
    speeds = remembered_speeds(model_id) if precision == "float32" else {}
    for name, speed in speeds.items():
        if name in usable:
            return name, f"it was the fastest here when timed, {speed:.3g} images a second"
    if usable:
        return usable[0], (
            f"it is the first of {', '.join(faults)} that can be used here"
            + ("; they are timed at the first use of a preset" if len(usable) > 2 else "")
        )
    raise RuntimeMissingError(
        f"No runtime on this machine computes in {precision}: "
        + "; ".join(f"{name}: {fault}" for name, fault in faults.items())
        + "."
    )

"""The choice of the runtime if the user names none."""

from __future__ import annotations

import os

from dolg_zoo.errors import RuntimeMissingError
from dolg_zoo.runtimes.cpu import has_gpu
from dolg_zoo.runtimes.measured import can_remember, remembered_speeds
from dolg_zoo.runtimes.registry import RUNTIMES, fault_of, in_order

RUNTIME_VARIABLE = "DOLG_ZOO_RUNTIME"


def check_route(runtime: str | None = None, precision: str = "float32") -> str:
    """Return the runtime that is named, or the default, if it can be used here in a precision.

    Raises:
        RuntimeMissingError: says what to install, or what the processor lacks.
        ValueError: if there is no such runtime or precision.
    """
    runtime = runtime or default_runtime(precision)
    if fault := fault_of(runtime, precision):
        raise RuntimeMissingError(f"The runtime {runtime!r} cannot be used: {fault}.")
    return runtime


def default_runtime(precision: str = "float32", model_id: str | None = None) -> str:
    """Return the runtime that is used if none is named: see `why_default`."""
    return why_default(precision, model_id)[0]


def routes(
    runtime: str | None = None, precision: str = "float32", model_id: str | None = None
) -> list[str]:
    """Return the runtime that is named; or, if none is, the default and those to fall back to.

    Raises:
        RuntimeMissingError: as `check_route`.
        ValueError: as `check_route`.
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

    Keras is not one of them: to import it takes longer than to embed some hundred images.

    Returns:
        Their names; none if there is no choice, or they were timed before.
    """
    names = [name for name in routes(runtime, precision, model_id) if name != "keras"]
    if precision != "float32" or len(names) < 2 or remembered_speeds(model_id):
        return []
    return names if can_remember() else []


def why_default(precision: str = "float32", model_id: str | None = None) -> tuple[str, str]:
    """Return the runtime that is used if none is named, and why.

    That is $DOLG_ZOO_RUNTIME; without it, Keras beside a GPU, since the others compute on the
    processor; else the fastest for the model, if they were timed here; else the first of
    `in_order(precision)` that can be used here.

    Args:
        precision: "float32", "bfloat16" or "int8".
        model_id: the model that is to be computed; None for any.

    Raises:
        ValueError: if $DOLG_ZOO_RUNTIME is no runtime, or there is no such precision.
        RuntimeMissingError: if nothing that is installed computes in that precision.
    """
    if own := os.environ.get(RUNTIME_VARIABLE):
        if own not in RUNTIMES:
            raise ValueError(
                f"{RUNTIME_VARIABLE} must be one of {', '.join(RUNTIMES)}, not {own!r}."
            )
        return own, f"{RUNTIME_VARIABLE} says so"
    if precision == "float32" and has_gpu():
        return "keras", "it uses the GPU that is here"
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
        f"Nothing here computes in {precision}: "
        + "; ".join(f"{name}: {fault}" for name, fault in faults.items())
        + "."
    )

"""How fast the runtimes were here when they were measured, so that the fastest is taken."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dolg_zoo._util.cache_folder import cache_folder
from dolg_zoo._util.files import replacing
from dolg_zoo._util.json_files import read_json_object
from dolg_zoo.errors import CompilationError
from dolg_zoo.runtimes.compile import pattern
from dolg_zoo.runtimes.cpu import cores, cpu_id
from dolg_zoo.runtimes.registry import RUNTIMES, fault_of

if TYPE_CHECKING:
    from dolg_zoo.runtimes.embedding_model import EmbeddingModel

TURNS, TURN = 7, 0.7  # how often each is timed, and seconds at least each time
PHOTO = (1024, 768)  # width and height of what a converter is asked about


def measure_runtimes(
    model: EmbeddingModel, say: Callable[[str], None] = lambda line: None
) -> dict[str, float]:
    """Time the runtimes that can be used here, in turns, and remember their speeds.

    From then on that is the default on this machine, until a runtime comes, goes or changes.

    Args:
        model: is compiled for each, if it was not before; speeds are of its image size.
        say: is told what goes on, and which runtime could not compile it.

    Returns:
        Images a second in float32 by runtime, the fastest first: medians.
    """
    height, width = model.input_shape[1:3]
    if not (height and width):
        width, height = model.image_converter.target_size(*PHOTO)
    images = pattern(height, width).repeat(4, axis=0)
    routes = {}
    for name in RUNTIMES:
        if fault_of(name) is None:
            say(f"Compiling for {name} …")
            try:
                routes[name] = model.compile_for_inference(name).infer
                routes[name](images)
            except CompilationError as error:
                say(f"{name} cannot compute this model: {error}")
    say(f"Timing batches of {len(images)} images of {width}×{height} pixels …")
    times: dict[str, list[float]] = {name: [] for name in routes}
    for _ in range(TURNS):
        for name, infer in routes.items():
            times[name].append(_seconds(infer, images))
    speeds = {name: len(images) / statistics.median(each) for name, each in times.items()}
    speeds = dict(sorted(speeds.items(), key=lambda item: -item[1]))
    _remember(speeds)
    return speeds


def remembered_speeds() -> dict[str, float]:
    """Return the speeds that `measure_runtimes` found here with these runtimes; empty if none."""
    path = _path()
    if path is None:
        return {}
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        kept = read_json_object(path)
        if kept["made_by"] == _maker():
            speeds = {name: float(kept["speeds"][name]) for name in kept["speeds"]}
            if speeds.keys() <= RUNTIMES.keys():
                return dict(sorted(speeds.items(), key=lambda item: -item[1]))
    return {}


def _seconds(infer: Callable[[Any], Any], images: Any) -> float:
    begin, times = time.perf_counter(), 0
    while time.perf_counter() - begin < TURN:
        infer(images)
        times += 1
    return (time.perf_counter() - begin) / times


def _remember(speeds: dict[str, float]) -> None:
    path = _path()
    if path is None:
        return
    with suppress(OSError):  # the default is then what it was
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(json.dumps({"made_by": _maker(), "speeds": speeds}, indent=1).encode())


def _path() -> Path | None:
    parent = cache_folder()
    return parent and parent / "compiled" / "speeds.json"


def _maker() -> dict[str, Any]:
    return {
        "dolg_zoo": version("dolg-zoo"),
        **{name: runtime.version for name, runtime in RUNTIMES.items()},
        "processor": cpu_id(),
        "cores": cores(),
    }

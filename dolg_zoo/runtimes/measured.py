"""Time the runtimes on this machine, so that the fastest becomes the default."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dolg_zoo import __version__
from dolg_zoo._util.cache_folder import cache_folder
from dolg_zoo._util.records import keep_record, kept_record
from dolg_zoo.errors import CompilationError
from dolg_zoo.runtimes.compile import pattern
from dolg_zoo.runtimes.cpu import cores, cpu_id
from dolg_zoo.runtimes.registry import RUNTIMES, fault_of

if TYPE_CHECKING:
    from dolg_zoo.runtimes.embedding_model import EmbeddingModel

TURNS, TURN = 7, 0.7  # number of timings of each runtime, and minimum seconds of each timing
FIRST_TURNS, FIRST_TURN = 3, 0.4  # the same, if the user did not ask for a measurement
PHOTO = (1024, 768)  # width and height of a typical photograph


def measure_runtimes(
    model: EmbeddingModel,
    say: Callable[[str], None] = lambda line: None,
    names: Iterable[str] = RUNTIMES,
    turns: int = TURNS,
    turn: float = TURN,
) -> dict[str, float]:
    """Time this machine's runtimes in turns; return median images per second, fastest first."""
    # In float32. The fastest becomes the model's default on this machine, until a runtime is
    # installed, removed or updated. Missing compiled forms are made. `say` gets lines for the user;
    # each of `turns` takes at least `turn` seconds.
    height, width = model.input_shape[1:3]
    if not (height and width):
        width, height = model.image_converter.target_size(*PHOTO)
    images = pattern(height, width).repeat(4, axis=0)
    routes = {}
    for name in names:
        if fault_of(name) is None:
            say(f"Compiling for {name} …")
            try:
                routes[name] = model.compile_for_inference(name).infer
                routes[name](images)
            except CompilationError as error:
                say(f"{name} cannot compute this model: {error}")
    say(f"Timing batches of {len(images)} images of {width}×{height} pixels …")
    times: dict[str, list[float]] = {name: [] for name in routes}
    for _ in range(turns):
        for name, infer in routes.items():
            times[name].append(_seconds(infer, images, turn))
    speeds = {name: len(images) / statistics.median(each) for name, each in times.items()}
    speeds = dict(sorted(speeds.items(), key=lambda item: -item[1]))
    _remember(model.model_id, speeds)
    return speeds


def remembered_speeds(model_id: str | None) -> dict[str, float]:
    """Return the cached result of `measure_runtimes` for a model; empty if there is none."""
    record = kept_record(_path(model_id) if model_id else None)
    with suppress(ValueError, KeyError, TypeError):
        if record.get("made_by") == _maker():
            speeds = {name: float(record["speeds"][name]) for name in record["speeds"]}
            if speeds.keys() <= RUNTIMES.keys():
                return dict(sorted(speeds.items(), key=lambda item: -item[1]))
    return {}


def can_remember() -> bool:
    """Return whether a cache folder is writable; else each process would time all runtimes."""
    parent = cache_folder()
    if parent is None:
        return False
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(parent, os.W_OK)


def _seconds(infer: Callable[[Any], Any], images: Any, turn: float) -> float:
    begin, times = time.perf_counter(), 0
    while time.perf_counter() - begin < turn:
        infer(images)
        times += 1
    return (time.perf_counter() - begin) / times


def _remember(model_id: str, speeds: dict[str, float]) -> None:
    keep_record(_path(model_id), {"made_by": _maker(), "speeds": speeds})


def _path(model_id: str) -> Path | None:
    return cache_folder("compiled", model_id, "speeds.json")


def _maker() -> dict[str, Any]:
    return {
        "dolg_zoo": __version__,
        **{name: runtime.version for name, runtime in RUNTIMES.items()},
        "processor": cpu_id(),
        "cores": cores(),
    }

"""Load a model without TensorFlow's log messages."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from dolg_zoo._util.stderr import held_back_stderr
from dolg_zoo.cli.reporting import is_debugging, note

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dolg_zoo.embedders.base import ImageEmbedder
    from dolg_zoo.embedders.dolg import DOLG
    from dolg_zoo.explaining import Explains
    from dolg_zoo.preprocessing import ImageSource
    from dolg_zoo.presets.origins import ResolvedPreset


def resolve(preset: str | None) -> ResolvedPreset:
    """Return a preset with local files; import TensorFlow only to convert a checkpoint."""
    from dolg_zoo.presets.files import read_json
    from dolg_zoo.presets.registry import resolve_preset
    from dolg_zoo.weights.manifest import CONFIG

    resolved = resolve_preset(preset, before_conversion=import_tensorflow)
    read_json(resolved.folder / CONFIG)  # a folder without a preset fails before TensorFlow
    return resolved


def load_model(preset: str | None) -> DOLG:
    """Return the model of a preset, as `DOLG.from_preset` loads it."""
    resolved = resolve(preset)
    import_tensorflow("Loading the model …")
    from dolg_zoo.embedders.dolg import DOLG

    return DOLG.from_preset(resolved)


def load_explainer(preset: str | None) -> Explains:
    """Return the object that explains a preset's scores; shipped presets need no TensorFlow."""
    from dolg_zoo.explaining.without_keras import LiteRTExplainer
    from dolg_zoo.presets.origins import Shipped
    from dolg_zoo.presets.registry import find_preset, resolve_preset
    from dolg_zoo.runtimes.choice import RUNTIME_VARIABLE
    from dolg_zoo.runtimes.registry import fault_of

    is_shipped = isinstance(find_preset(preset), Shipped)
    runtime = os.environ.get(RUNTIME_VARIABLE) or "litert"
    explainer = None
    if is_shipped and runtime == "litert" and fault_of(runtime) is None:
        explainer = LiteRTExplainer.of_embedded(resolve_preset(preset))
    return explainer or load_model(preset)


def load_embedder(
    preset: str | None,
    runtime: str | None = None,
    precision: str = "float32",
    sample: Callable[[], Sequence[ImageSource]] | None = None,
) -> ImageEmbedder:
    """Return a preset's embedder for a runtime and precision, without TensorFlow if compiled."""
    # `sample` gives images to calibrate "int8" with
    from dolg_zoo.embedders.compiled import CompiledDOLG
    from dolg_zoo.embedders.load import embedder
    from dolg_zoo.runtimes import routes, untimed

    first, *_ = routes(runtime, precision)
    if (first, precision) == ("keras", "float32"):
        return load_model(preset)
    resolved = resolve(preset)
    if compiled := CompiledDOLG.cached(resolved, runtime, precision):
        return compiled
    if not untimed(runtime, precision):
        note(f"Compiling the model for {first} in {precision}; the result is cached …")
    import_tensorflow()
    calibration = sample() if sample and precision == "int8" else None
    return embedder(resolved, runtime, precision, calibration=calibration)


def import_tensorflow(notice: str = "") -> None:
    """Import TensorFlow, and show its output only with an error; it must be Keras' backend."""
    if notice and sys.stderr.isatty():
        note(notice)
    if (backend := os.environ.get("KERAS_BACKEND")) not in (None, "", "tensorflow"):
        raise ValueError(
            f"dolg-zoo needs Keras on TensorFlow, but KERAS_BACKEND is {backend!r}; unset it, or"
            " set it to tensorflow."
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _held_back_stderr():
        import tensorflow as tf

        tf.config.list_physical_devices()  # logs messages about drivers
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


def _held_back_stderr() -> AbstractContextManager[None]:
    return nullcontext() if is_debugging() else held_back_stderr()

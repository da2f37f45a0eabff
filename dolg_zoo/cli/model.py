"""Loading a model without TensorFlow's chatter."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from dolg_zoo._util.stderr import held_back_stderr
from dolg_zoo.cli.reporting import is_debugging, note

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dolg_zoo.embedders.base import ImageEmbedder
    from dolg_zoo.embedders.dolg import DOLG
    from dolg_zoo.explaining import Explains
    from dolg_zoo.preprocessing import ImageSource
    from dolg_zoo.presets.registry import ResolvedPreset


def load_model(preset: str | None) -> DOLG:
    """Return the model of a preset, as `DOLG.from_preset` loads it."""
    check_preset_name(preset)
    import_tensorflow("Loading the model …")
    from dolg_zoo.embedders.dolg import DOLG

    return DOLG.from_preset(preset)


def load_explainer(preset: str | None) -> Explains:
    """Return the object that explains a preset's scores; shipped presets need no TensorFlow."""
    from dolg_zoo.explaining.without_keras import LiteRTExplainer
    from dolg_zoo.presets.registry import find_preset, resolve_preset
    from dolg_zoo.runtimes.choice import RUNTIME_VARIABLE
    from dolg_zoo.runtimes.registry import fault_of
    from dolg_zoo.weights import PresetEntry

    found = find_preset(preset)
    is_embedded = isinstance(found, PresetEntry) and found.source is None
    is_wanted = os.environ.get(RUNTIME_VARIABLE, "litert") in ("", "litert")
    explainer = None
    if is_embedded and is_wanted and fault_of("litert") is None:
        explainer = LiteRTExplainer.of_embedded(resolve_preset(preset))
    return explainer or load_model(preset)


def check_preset_name(preset: str | None) -> None:
    """Download a preset if needed, so that a wrong name fails before TensorFlow is imported."""
    from dolg_zoo.presets.files import read_json
    from dolg_zoo.presets.registry import find_preset, resolve_preset
    from dolg_zoo.weights.kept import state_of
    from dolg_zoo.weights.manifest import CONFIG

    found = find_preset(preset)
    if isinstance(found, Path):
        read_json(found / CONFIG)
    elif isinstance(found, str):
        resolve_preset(preset)
    elif not _fetched_for_conversion(found) and state_of(found) == "not cached":
        resolve_preset(preset)  # what is here is verified as it is loaded


def resolve(preset: str | None) -> ResolvedPreset:
    """Return the folder of a preset; TensorFlow is imported only to convert a checkpoint."""
    from dolg_zoo.presets.registry import find_preset, resolve_preset

    if _fetched_for_conversion(find_preset(preset)):
        import_tensorflow()
    return resolve_preset(preset)


def _fetched_for_conversion(found: object) -> bool:
    """Download a preset's checkpoint if it is still to be converted; return whether it is."""
    from dolg_zoo.weights import CheckpointEntry, fetch
    from dolg_zoo.weights.kept import kept_conversion

    if not isinstance(found, CheckpointEntry) or kept_conversion(found):
        return False
    fetch(found.file, preset=found.name)
    return True


def load_embedder(
    preset: str | None,
    runtime: str | None = None,
    precision: str = "float32",
    sample: Callable[[], Sequence[ImageSource]] | None = None,
) -> ImageEmbedder:
    """Return a preset's model by the default or the named route, without TensorFlow if compiled."""
    # `sample` gives images to calibrate "int8" with
    from dolg_zoo.embedders.compiled import CompiledDOLG
    from dolg_zoo.embedders.load import embedder
    from dolg_zoo.presets.registry import find_preset
    from dolg_zoo.runtimes import routes, untimed

    first, *_ = routes(runtime, precision)
    if (first, precision) == ("keras", "float32"):
        return load_model(preset)
    if _fetched_for_conversion(find_preset(preset)):
        import_tensorflow()
    if found := CompiledDOLG.cached(preset, runtime, precision):
        return found
    if not untimed(runtime, precision):
        note(f"Compiling the model for {first} in {precision}; the result is kept …")
    import_tensorflow()
    calibration = sample() if sample and precision == "int8" else None
    return embedder(preset, runtime, precision, calibration=calibration)


def import_tensorflow(notice: str = "") -> None:
    """Import TensorFlow, and show its output only with an error; it must be Keras' backend."""
    if notice and sys.stderr.isatty():
        note(notice)
    if (backend := os.environ.get("KERAS_BACKEND")) not in (None, "", "tensorflow"):
        raise ValueError(
            f"dolg-zoo needs Keras on TensorFlow, and KERAS_BACKEND is {backend!r}; unset it, or"
            " set it to tensorflow."
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _held_back_stderr():
        import tensorflow as tf

        tf.config.list_physical_devices()  # says what it thinks of the drivers
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


def _held_back_stderr() -> AbstractContextManager[None]:
    return nullcontext() if is_debugging() else held_back_stderr()

"""Load the fastest available embedder of a preset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dolg_zoo.embedders.compiled import CompiledDOLG, remember_compiled
from dolg_zoo.presets import resolve_preset
from dolg_zoo.runtimes import routes

if TYPE_CHECKING:
    from dolg_zoo.embedders.base import ImageEmbedder
    from dolg_zoo.preprocessing import ImageSource
    from dolg_zoo.presets.origins import ResolvedPreset


def embedder(
    preset: str | Path | ResolvedPreset | None = None,
    runtime: str | None = None,
    precision: str = "float32",
    *,
    calibration: Sequence[ImageSource] | None = None,
) -> ImageEmbedder:
    """Load a preset to embed images with, without TensorFlow where it is not needed.

    The preset that ships with dolg-zoo needs no TensorFlow, nor does a preset that was compiled
    for this runtime before. Any other preset is compiled once, and the result is cached.
    `DOLG.from_preset` loads the model itself, to train, save or explain it.

    ```python
    embedder = dolg_zoo.embedder()
    descriptors = embedder.embed("photos/")
    ```

    Args:
        preset: a name that `dolg presets` lists; `hf://user/repo[@revision]`; or a folder that
            `save_to_preset` wrote. None for the preset that ships with dolg-zoo.
        runtime: a name in `dolg_zoo.runtimes.RUNTIMES`; None for the default.
        precision: "float32", "bfloat16" or "int8"; the last two change descriptors.
        calibration: images to calibrate "int8" with; not needed if it was calibrated before.

    Returns:
        An embedder; `embed(images)` returns descriptors (images, dim), float32, of norm 1.

    Raises:
        PresetError: if there is no such preset, or its files are not valid.
        WeightsError: if a file cannot be downloaded, or its sha256 differs from the expected.
        RuntimeMissingError: if the runtime is not installed, or does not support the precision
            on this machine.
        CompilationError: if a "float32" descriptor differs from that of Keras by more than 1e-4
            in norm.
        ValueError: if there is no such runtime or precision, or no image to calibrate with.
    """
    if (routes(runtime, precision), precision) == (["keras"], "float32"):
        from dolg_zoo.embedders.dolg import DOLG

        return DOLG.from_preset(preset)
    resolved = resolve_preset(preset)
    if compiled := CompiledDOLG.cached(resolved, runtime, precision):
        return compiled
    from dolg_zoo.embedders.dolg import DOLG

    model = DOLG.from_preset(resolved)
    compiled = model.compile_for_inference(runtime, precision, calibration=calibration)
    remember_compiled(model, resolved)
    return compiled
